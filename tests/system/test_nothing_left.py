"""What many containers leave behind on the host and in the daemon: nothing."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from minidock.api.server import KEPT_THREADS
from tests.api.conftest import Daemon, cgroup_directories
from tests.system.conftest import Docker


def files_below(top: Path) -> list[str]:
    """List a tree that may be on its way out: os.walk, unlike rglob, does not mind what vanishes
    meanwhile.
    """
    return sorted(f"{path}/{name}" for path, names, files in os.walk(top) for name in (*names, *files))


def descendants(pid: int) -> list[int]:
    """Return the process and all below it, except those that are ending."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                found += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
    return [one for one in found if os.path.exists(f"/proc/{one}/fd/0")]


def namespaces(pid: int) -> list[str]:
    """Return the namespaces of a process by their inodes."""
    with contextlib.suppress(OSError):
        return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in os.listdir(f"/proc/{pid}/ns")]
    return []


def everything(daemon: Daemon) -> dict[str, object]:
    """Count what could leak: mounts, namespaces, cgroups, processes of the daemon, descriptors and
    threads of it and of them, and files.
    """
    pid = daemon.process.pid
    _fill_the_crew(daemon)
    children = subprocess.run(
        ["ps", "-e", "-o", "ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    files = files_below(daemon.directory / "data" / "containers")
    return {
        "mounts": Path(f"/proc/{pid}/mountinfo").read_text().count(str(daemon.directory)),
        "namespaces": len({link for one in descendants(pid) for link in namespaces(one)}),
        "cgroups": sorted(path.name for path in cgroup_directories(daemon.cgroup_parent)),
        "descriptors": [len(os.listdir(f"/proc/{one}/fd")) for one in descendants(pid)],
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "children": [line for line in children.splitlines() if line.split()[0] == str(pid)],
        "files": files,
        "sockets": files_below(daemon.directory / "run" / "containers"),
    }


def _fill_the_crew(daemon: Daemon) -> None:
    """Let the daemon have as many free threads as it keeps: else it depends on how many came at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(KEPT_THREADS):
            client = stack.enter_context(contextlib.closing(daemon.client().connect()))
            client.sendall(b"HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


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


@pytest.mark.soak(1000)
@pytest.mark.timeout(1800)
def test_whole_lives_leave_nothing(docker: Docker, system_daemon: Daemon, rounds: int) -> None:
    client = system_daemon.client()

    def live() -> None:
        host = {"NetworkMode": "none"}
        identifier = client.create("sleep", "1000", host=host, Image=docker.image)
        client.start(identifier)
        body = {"Cmd": ["echo", "hello"], "AttachStdout": True}
        exec_id = client.post(f"/containers/{identifier}/exec", body).json["Id"]
        assert b"hello" in client.post(f"/exec/{exec_id}/start", {}).body
        assert client.post(f"/containers/{identifier}/stop?t=0").status == 204
        assert client.get(f"/containers/{identifier}/logs?stdout=1").status == 200
        assert client.delete(f"/containers/{identifier}?v=1").status == 204

    live()
    before = at_rest(system_daemon)
    for _ in range(rounds):
        live()
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
