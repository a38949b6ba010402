"""What many containers leave behind on the host and in the daemon: nothing."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.api.conftest import Daemon, cgroup_directories
from tests.system.conftest import Docker


def files_below(top: Path) -> list[str]:
    """List a tree that may be on its way out: os.walk, unlike rglob, does not mind what vanishes
    meanwhile.
    """
    return sorted(f"{path}/{name}" for path, names, files in os.walk(top) for name in (*names, *files))


def everything(daemon: Daemon) -> dict[str, object]:
    """Count what could leak: mounts, cgroups, processes of the daemon, its descriptors and threads, and
    files.
    """
    pid = daemon.process.pid
    children = subprocess.run(
        ["ps", "-e", "-o", "ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    files = files_below(daemon.directory / "data" / "containers")
    return {
        "mounts": Path("/proc/self/mountinfo").read_text().count("\n"),
        "cgroups": sorted(path.name for path in cgroup_directories(daemon.cgroup_parent)),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "children": [line for line in children.splitlines() if line.split()[0] == str(pid)],
        "files": files,
        "sockets": files_below(daemon.directory / "run" / "containers"),
    }


def at_rest(daemon: Daemon) -> dict[str, object]:
    """Return the counts once two of them agree: what earlier tests ended may still be on its way out."""
    deadline = time.monotonic() + 30
    now = everything(daemon)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        last, now = now, everything(daemon)
        if now == last:
            break
    return now


def settled(daemon: Daemon, before: dict[str, object]) -> dict[str, object]:
    """Return the counts once they are as before, or after a while as they are."""
    deadline = time.monotonic() + 30
    while (now := everything(daemon)) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


@pytest.mark.soak(1000)
@pytest.mark.timeout(1800)
def test_runs_leave_nothing(docker: Docker, system_daemon: Daemon, rounds: int) -> None:
    docker.run()
    before = at_rest(system_daemon)
    for _ in range(rounds):
        docker.run(script="true")
    assert settled(system_daemon, before) == before


def test_failed_starts_leave_nothing(docker: Docker, system_daemon: Daemon, rounds: int) -> None:
    docker.run()
    before = at_rest(system_daemon)
    for _ in range(min(rounds, 20)):
        assert docker("run", "--rm", "--net", "none", docker.image, "missing", check=False).returncode == 127
        assert docker("run", "--rm", "--net", "none", docker.image, "/etc", check=False).returncode == 126
        assert docker.run("--tmpfs", "/x:nonsense=1", check=False).returncode == 125
        assert (
            docker.run("--device", "/dev/missing", check=False).returncode == 127
        )  # by its words, as with Docker
    assert settled(system_daemon, before) == before
