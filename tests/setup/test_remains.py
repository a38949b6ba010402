"""Ending an engine from outside: what lives in its cgroup, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from setup import remains


@pytest.fixture
def parent() -> Iterator[str]:
    name = f"/minidock-test-remains-{os.getpid()}"
    yield name
    remains.end_cgroup(name)


def hierarchy() -> str:
    """Return one hierarchy in which a process can be put without any set-up."""
    mounts = list(remains._hierarchies())
    return next((m for m in mounts if m.endswith("/pids")), mounts[0])


def join(directory: str) -> subprocess.Popen[bytes]:
    os.makedirs(directory, exist_ok=True)
    line = f"echo $$ > {directory}/cgroup.procs && exec sleep 600"
    process = subprocess.Popen(["sh", "-c", line])
    while str(process.pid) not in Path(directory, "cgroup.procs").read_text().split():
        assert process.poll() is None
    return process


def test_every_process_below_the_cgroup_is_ended_and_the_cgroups_are_removed(parent: str) -> None:
    top = hierarchy() + parent
    inside = [join(f"{top}/engine"), join(f"{top}/deep/er")]
    outside = subprocess.Popen(["sleep", "600"])
    try:
        assert remains.processes(parent) == {process.pid for process in inside}
        remains.end_cgroup(parent)
        assert [process.wait(10) for process in inside] == [-9, -9]
        assert not os.path.exists(top)
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


def test_the_root_cgroup_is_never_taken_for_an_engine() -> None:
    witness = subprocess.Popen(["sleep", "600"])
    try:
        for name in ("", "/", "//"):
            remains.end_cgroup(name)
        assert witness.poll() is None
    finally:
        witness.kill()
        witness.wait()


def test_a_cgroup_that_is_not_there_is_no_error(parent: str) -> None:
    remains.end_cgroup(parent)
    assert remains.processes(parent) == set()


def test_mounts_below_a_directory_are_detached_and_others_are_not(tmp_path: Path) -> None:
    """In a mount namespace of its own: `unshare` makes it, and it is gone with the child."""
    ours, beside = tmp_path / "a", tmp_path / "ab"
    code = (
        "import sys; from setup import remains; remains.unmount_below(sys.argv[1]); "
        "print(*remains._mounts_below(sys.argv[1]), '|', *remains._mounts_below(sys.argv[2]))"
    )
    line = (
        'mkdir "$1" "$2" && mount -t tmpfs t "$1" && mkdir "$1/x" && mount -t tmpfs t "$1/x" '
        '&& mount -t tmpfs t "$2" && exec "$3" -B -c "$4" "$1" "$2"'
    )
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", line, "sh", ours, beside, sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.strip() == f"| {beside}"


def test_an_engine_is_known_by_its_pid_file_only_if_it_is_in_the_cgroup(parent: str, tmp_path: Path) -> None:
    member = join(f"{hierarchy()}{parent}/engine")
    try:
        assert remains.engine(tmp_path, parent) == 0
        (tmp_path / "minidock.pid").write_text(f"{os.getpid()}\n")
        assert remains.engine(tmp_path, parent) == 0
        (tmp_path / "minidock.pid").write_text(f"{member.pid}\n")
        assert remains.engine(tmp_path, parent) == member.pid
    finally:
        member.kill()
        member.wait()
