"""A learner's mistake never reaches the host, always ends in time, and leaves nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroups, mounts, namespaces
from minidock.learn.sandbox import PARENT, owner, sweep
from tests.conftest import TIME_SCALE

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
        assert seconds < 60 * TIME_SCALE, what
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


GRADER = """
import os, sys, time
from minidock.learn import sandbox
room = sandbox.Room()
def inside(records):
    os.fork()
    os.write(records, b'{}\\n')
    time.sleep(1000)
with sandbox.limits(room) as group:
    print(group.path, flush=True)
    if sys.argv[1:] == ["in a sandbox"]:
        sandbox.stay(inside, group, room)
    time.sleep(1000)
"""


@contextmanager
def grader(*words: str) -> Iterator[tuple[subprocess.Popen[str], cgroups.Cgroup]]:
    """Start a process that grades for ever, and yield it with its cgroup."""
    command = [sys.executable, "-B", "-c", GRADER, *words]
    with subprocess.Popen(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group = cgroups.at(process.stdout.readline().strip())
        try:
            yield process, group
        finally:
            process.kill()
            process.wait()
            sweep()


def test_what_a_killed_grader_left_is_swept_by_the_next(tmp_path: Path) -> None:
    with grader() as (killed, its), grader() as (_living, other):
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert its.exists()
        foreign = cgroups.at(f"{PARENT}/somebody-elses")
        foreign.create()
        try:
            command = [
                sys.executable,
                "-c",
                "from minidock.cli.main import main; main()",
                "learn",
                "start",
                "1",
            ]
            checking = [*command[:-2], "check", "1", "--folder", str(tmp_path)]
            subprocess.run([*command, "--folder", str(tmp_path)], check=True, capture_output=True)
            subprocess.run(checking, capture_output=True, check=False, cwd=HERE.parent.parent)
            assert not its.exists()
            assert other.exists(), "its grader lives"
            assert foreign.exists(), "no grader has made it"
        finally:
            foreign.delete()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", ["between two checks", "in a sandbox"])
def test_a_grader_that_is_asked_to_end_removes_its_cgroup(number: signal.Signals, where: str) -> None:
    with grader(where) as (asked, its):
        deadline = time.monotonic() + 30
        while where == "in a sandbox" and len(its.processes()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        asked.send_signal(number)
        asked.wait()
        assert not its.exists()


def test_a_grader_that_is_not_reaped_yet_is_dead_all_the_same() -> None:
    with grader() as (killed, its):
        os.kill(killed.pid, signal.SIGKILL)
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        sweep()
        assert not its.exists()


def test_a_sandbox_ends_with_its_grader() -> None:
    with grader("in a sandbox") as (killed, its):
        deadline = time.monotonic() + 30
        while len(its.processes()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(its.processes()) >= 2
        os.kill(killed.pid, signal.SIGKILL)
        while its.processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert its.processes() == []


@pytest.mark.parametrize("changed", ["pid", "namespace", "start"])
def test_only_what_is_certainly_dead_is_swept(changed: str) -> None:
    """A number that now belongs to another process is dead; one of another pid namespace cannot be judged."""
    own, pid, start = owner(os.getpid())
    named = {
        "pid": (own, 2**22 - 1, start),
        "namespace": (own + 1, 2**22 - 1, start),
        "start": (own, pid, start - 1),
    }
    group = cgroups.at(f"{PARENT}/{'-'.join(map(str, named[changed]))}-0123456789ab")
    group.create()
    try:
        sweep()
        assert group.exists() is (changed == "namespace")
    finally:
        group.delete()


def test_every_experiment_gives_one_of_its_choices() -> None:
    answers = alone("predictions")
    assert len(answers) >= 8
    for number, choices, lines in answers:
        assert lines, f"chapter {number}: the experiment printed nothing"
        assert lines[-1] in choices, f"chapter {number}: {lines}"
    assert {number for number, _, _ in answers} == {1, 2, 3, 4}
