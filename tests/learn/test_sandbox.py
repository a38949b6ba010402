"""A learner's mistake never reaches the host, always ends in time, and leaves nothing."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroups, mounts, namespaces
from minidock.learn.sandbox import PARENT

HERE = Path(__file__).resolve().parent


def alone(what: str) -> Any:
    answer = subprocess.run(
        [sys.executable, "-B", "-m", "tests.learn.alone", what],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.timeout(300)
def test_a_vandal_harms_nobody_and_always_ends(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("still here")
    here = {mount.id: mount.target for mount in mounts.mountinfo()}
    listing = {path: sorted(os.listdir(path)) for path in ("/", "/etc", "/usr/bin", str(HERE))}
    name = socket.gethostname()
    results = alone("harm")
    assert len(results) >= 8
    for what, (_passed, _seen, printed, seconds) in results.items():
        assert seconds < 60, what
        assert "OPENED A DISK" not in printed, what
    assert precious.read_text() == "still here"
    assert {path: sorted(os.listdir(path)) for path in listing} == listing
    assert socket.gethostname() == name
    gone = set(here.values()) - {mount.target for mount in mounts.mountinfo()}
    assert not [
        path for path in gone if "minidock" not in path and not path.startswith(tempfile.gettempdir())
    ]
    for what in ("removes everything", "never ends", "forks without end", "eats memory", "kills everybody"):
        assert what in results
    for what in ("never ends", "blocks every signal and sleeps", "eats memory", "renames the machine"):
        assert not results[what][0], f"{what} was graded as right"


def test_the_sandbox_is_cut_off_from_the_host() -> None:
    seen = alone("view")
    assert seen["tries"]["/scratch/x"] == "written"
    assert {seen["tries"][path] for path in ("/etc/minidock-was-here", "/usr/x", "/x")} == {
        "Read-only file system"
    }
    assert seen["shared"], "on a private tree a missing MS_PRIVATE could not be seen"
    for name, inode in seen["namespaces"].items():
        assert inode != namespaces.inode("self", name)
    assert set(seen["devices"]) <= {
        *("null", "zero", "full", "random", "urandom", "tty", "pts", "shm"),
        *("fd", "stdin", "stdout", "stderr", "core", "ptmx"),
    }
    assert seen["interfaces"] == ["lo"]
    assert seen["processes"] == ["1"]


def test_nothing_is_left() -> None:
    seen = alone("view")
    assert seen["cgroup"].startswith(PARENT)
    assert not cgroups.at(seen["cgroup"]).exists()
    left = [mount.target for mount in mounts.mountinfo() if mount.target.startswith("/scratch")]
    assert left == []


def test_every_experiment_gives_one_of_its_choices() -> None:
    answers = alone("predictions")
    assert len(answers) >= 8
    for number, choices, lines in answers:
        assert lines, f"chapter {number}: the experiment printed nothing"
        assert lines[-1] in choices, f"chapter {number}: {lines}"
    assert {number for number, _, _ in answers} == {1, 2, 3, 4}
