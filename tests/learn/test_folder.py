"""The learner's folder: behind sudo it is the person's own, and so is what is written in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.errors import Forbidden
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
def somebody() -> Iterator[None]:
    """Be an ordinary user for a while."""
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_what_belongs_to_root_is_named_in_one_sentence(
    somebody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = chapters.chapter(1)
    folder = Folder(Path("/root/minidock-learn-of-root"))
    for act in (
        lambda: verbs.show_list(folder),
        lambda: folder.record(chapter),
        lambda: folder.remember(chapter, passed=True),
        lambda: folder.start(chapter),
        lambda: folder.piece(chapter),
    ):
        with pytest.raises(Forbidden, match="is not yours to read or to write: give the folder back with"):
            act()
    assert capsys.readouterr().out == ""
