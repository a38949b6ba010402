"""The learner's folder: behind sudo it is the person's own, and so is what is written in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.learn import chapters

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
