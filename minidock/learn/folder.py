"""The learner's own folder: one file a chapter, and a small record of how far they are.

What is in it is the learner's work, so nothing here ever overwrites a chapter's file. Under sudo the files
belong to the person behind it.
"""

import io
import json
import os
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minidock import atomic
from minidock.errors import Conflict, Damaged, Forbidden, InvalidParameter, NotFound
from minidock.learn import advice, source
from minidock.learn.chapters import Chapter, learner_folder
from minidock.learn.piece import Piece

RECORD = "progress.json"


class Folder:
    """The folder at `path`; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, words: str, as_root: bool = False) -> str:
        """Return the `learn` command with these words for this folder."""
        usual = self.path == learner_folder(None)
        return advice.learn(words, None if usual else str(self.path), as_root)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Say in one sentence whose a file is that cannot be read or written."""
        try:
            yield
        except PermissionError as error:
            place = error.filename or self.path
            if not os.path.exists(self.path):
                raise Forbidden(f"{place} is out of your reach: take another folder with --folder") from None
            raise Forbidden(
                f"{place} is not yours to read or to write: give the folder back with "
                f'`sudo chown -R "$USER" {self.path}`, or take another one with --folder'
            ) from None

    def file(self, chapter: Chapter) -> Path:
        """Return the place of the learner's file for a chapter."""
        return self.path / f"{chapter.name}.py"

    def start(self, chapter: Chapter) -> Path:
        """Write the start file; Conflict when the chapter has been started."""
        path = self.file(chapter)
        try:
            with self._ours():
                if self.path.exists() and not self.path.is_dir():
                    raise InvalidParameter(f"{self.path} is not a folder")
                self.path.mkdir(parents=True, exist_ok=True)
                self._give_away(self.path)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise Conflict(
                f"{path} is there already and stays as it is (move it away to start afresh)"
            ) from None
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(source.start(chapter))
        self._give_away(path)
        return path

    def piece(self, chapter: Chapter) -> Piece:
        """Return the learner's file; NotFound when the chapter has not been started."""
        path = self.file(chapter)
        try:
            with self._ours():
                return Piece(str(path), _as_python_reads(path))
        except FileNotFoundError:
            command = self.command(f"start {chapter.number}")
            raise NotFound(f"{path} is not there: {command} writes it") from None

    def has_started(self, chapter: Chapter) -> bool:
        with self._ours():
            return self.file(chapter).exists()

    def record(self, chapter: Chapter) -> dict[str, Any]:
        """Return what is remembered of a chapter: passed, hints, predicted, broken."""
        found: dict[str, Any] = self._records().get(str(chapter.number), {})
        return found

    def remember(self, chapter: Chapter, **facts: Any) -> None:
        """Add facts to a chapter's record."""
        records = self._records()
        records[str(chapter.number)] = {**records.get(str(chapter.number), {}), **facts}
        with self._ours():
            self._write(records)

    def _write(self, records: dict[str, dict[str, Any]]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        atomic.write_state(str(self.path / RECORD), atomic.to_json(records))
        self._give_away(self.path / RECORD)

    def _records(self) -> dict[str, dict[str, Any]]:
        path = self.path / RECORD
        try:
            with self._ours():
                found: dict[str, dict[str, Any]] = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Damaged(f"{path} cannot be read ({error}): remove it, only the score is lost") from None
        return found

    def _give_away(self, path: Path) -> None:
        """Let the person behind sudo own what was written in their home."""
        if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))


def _as_python_reads(path: Path) -> str:
    """Return the text of a Python file, by its own declaration of an encoding or its byte order mark."""
    data = path.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"{path} is no text that Python can read: {error}") from None
