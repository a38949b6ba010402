"""The learner's folder: behind sudo it is the person's own, and so is what is written in it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.errors import Forbidden, InvalidParameter, NotFound
from minidock.learn import chapters, verbs
from minidock.learn.folder import Folder

START = "from minidock.cli.main import run_and_exit; run_and_exit()"


def test_the_folder_is_that_of_the_person_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "root")
    monkeypatch.setenv("HOME", "/somewhere/else")
    assert chapters.learner_folder(None) == Path("/root/minidock-learn")
    assert chapters.learner_folder("/mine") == Path("/mine")
    monkeypatch.delenv("SUDO_USER")
    assert chapters.learner_folder(None) == Path("/somewhere/else/minidock-learn")


def test_what_root_writes_there_belongs_to_the_person(tmp_path: Path) -> None:
    environment = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534"}
    folder = tmp_path / "folder"
    for words in (("start", "1"), ("hint", "1")):
        command = [sys.executable, "-c", START, "learn", *words, "--folder", str(folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    files = [folder, *folder.iterdir()]
    assert len(files) == 3
    assert {(path.stat().st_uid, path.stat().st_gid) for path in files} == {(65534, 65534)}


@pytest.fixture
def roots_own() -> Iterator[Path]:
    """Yield a folder that everybody can see and only root can enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def somebody() -> Iterator[None]:
    """Be an ordinary user for a while."""
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("", "is not yours to read or to write: give the folder back with"),
        ("below/the/folder", "is out of your reach: take another folder with --folder"),
    ],
)
def test_what_belongs_to_root_is_named_in_one_sentence(
    roots_own: Path, somebody: None, capsys: pytest.CaptureFixture[str], place: str, advice: str
) -> None:
    chapter = chapters.chapter(1)
    folder = Folder(roots_own / place)
    for act in (
        lambda: verbs.show_list(folder),
        lambda: folder.record(chapter),
        lambda: folder.remember(chapter, passed=True),
        lambda: folder.start(chapter),
        lambda: folder.piece(chapter),
    ):
        with pytest.raises(Forbidden, match=advice):
            act()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfname = '\xc3\xbc'\n",
        b"# -*- coding: latin-1 -*-\nname = '\xfc'\n",
        b"name = '\xc3\xbc'\n",
    ],
)
def test_a_file_is_read_as_python_reads_it(tmp_path: Path, data: bytes) -> None:
    folder, chapter = Folder(tmp_path), chapters.chapter(1)
    folder.file(chapter).write_bytes(data)
    assert folder.piece(chapter).text.endswith("name = 'ü'\n")
    compile(folder.piece(chapter).text, "piece", "exec")


@pytest.mark.parametrize("data", [b"# \xfc\n", b"\x00\xff\xfe\x80", b"# -*- coding: no-such -*-\n"])
def test_what_is_no_text_is_refused_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    folder, chapter = Folder(tmp_path), chapters.chapter(1)
    folder.file(chapter).write_bytes(data)
    with pytest.raises(InvalidParameter, match="is no text that Python can read: "):
        folder.piece(chapter)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameter, match="file is not a folder"):
        Folder(tmp_path / "file").start(chapters.chapter(1))


def test_to_watch_takes_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"is not there: minidock learn start 1 --folder .* writes it"):
        verbs.watch(Folder(tmp_path), 1)
