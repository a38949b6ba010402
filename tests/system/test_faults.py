"""Containers and clients that misbehave: the daemon answers all others, and they can be removed."""

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from minidock.kernel import process
from tests.api.conftest import Client, Daemon
from tests.conftest import TIME_SCALE
from tests.system.conftest import Docker
from tests.system.test_many_at_once import NO_NETWORK, attached
from tests.system.test_nothing_left import at_rest, settled

PATIENCE = 60.0 * TIME_SCALE
ZOMBIES = 50


@pytest.fixture
def client(system_daemon: Daemon, docker: Docker) -> Client:
    return system_daemon.client()


@contextlib.contextmanager
def running(client: Client, docker: Docker, script: str, **members: object) -> Iterator[str]:
    """Give a container that runs a shell script, and remove it by force."""
    identifier = client.create("sh", "-c", script, host={**NO_NETWORK, **members}, Image=docker.image)
    client.start(identifier)
    yield identifier
    assert client.delete(f"/containers/{identifier}?force=1").status == 204


def answers(client: Client, docker: Docker, identifier: str) -> None:
    """Ask for all that is known of a container, and let another one live meanwhile."""
    for path in ("json", "top", "logs?stdout=1&tail=1", "stats?stream=0&one-shot=1"):
        assert client.get(f"/containers/{identifier}/{path}").status == 200, path
    assert client.get("/containers/json?all=1&size=1").status == 200
    assert client.get("/_ping").status == 200
    assert docker.run(script="echo others go on").stdout == "others go on\n"


def eventually(is_true: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_client_that_is_gone_in_the_middle_of_its_attachment(
    client: Client, docker: Docker, system_daemon: Daemon
) -> None:
    """One leaves with a reset, one stops reading for ever: the program goes on, and nothing stays of them."""
    with running(client, docker, "read word; while :; do echo 0123456789; done") as identifier:
        pass
    before = at_rest(system_daemon)
    body = {"Image": docker.image, "Cmd": ["yes", "0123456789"], "HostConfig": NO_NETWORK}
    identifier = client.post("/containers/create", body).json["Id"]
    with attached(client, identifier) as rude, attached(client, identifier) as idle:
        client.start(identifier)
        assert rude.recv(100_000)
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.shutdown(socket.SHUT_RDWR)
        rude.close()
        assert idle.recv(1)
    path = client.inspect(identifier)["LogPath"]

    def written() -> tuple[int, int]:
        while True:
            with contextlib.suppress(FileNotFoundError):  # between two steps of a rotation
                facts = os.stat(path)
                return facts.st_ino, facts.st_size

    at_first = written()
    eventually(lambda: written() != at_first, "the program stands still")
    with attached(client, identifier) as another:
        assert b"0123456789" in another.recv(100_000)
    assert client.delete(f"/containers/{identifier}?force=1").status == 204
    assert settled(system_daemon, before) == before


def test_a_container_that_has_stopped_itself(client: Client, docker: Docker) -> None:
    with running(client, docker, "echo here; exec sleep 1000") as identifier:
        pid = client.inspect(identifier)["State"]["Pid"]
        os.kill(pid, signal.SIGSTOP)
        answers(client, docker, identifier)
        assert docker("exec", identifier, "echo", "in it").stdout == "in it\n"
        assert client.post(f"/containers/{identifier}/stop?t=0").status == 204
        assert client.inspect(identifier)["State"]["ExitCode"] == 137


@pytest.mark.parametrize("verb", ["kill", "stop?t=0", ""])
def test_a_container_that_somebody_else_has_frozen(
    client: Client, docker: Docker, system_daemon: Daemon, verb: str
) -> None:
    """Not by pause, of which the engine knows: by the cgroup's own file."""
    from minidock.kernel import cgroups

    with running(client, docker, "echo here; exec sleep 1000") as identifier:
        cgroup = cgroups.at(f"{system_daemon.cgroup_parent}/{identifier}")
        cgroup.freeze()
        answers(client, docker, identifier)
        if verb:
            assert client.post(f"/containers/{identifier}/{verb}").status == 204
            eventually(lambda: client.inspect(identifier)["State"]["ExitCode"] == 137, "it lives")


def test_a_pid_1_that_never_reaps(client: Client, docker: Docker) -> None:
    """`sleep` knows of no children, so each orphan stays a zombie for as long as it runs."""
    breed = f"(sleep {TIME_SCALE:.0f} &)"
    script = f"i=0; while [ $i -lt {ZOMBIES} ]; do {breed}; i=$((i+1)); done; exec sleep 1000"
    with running(client, docker, script) as identifier:
        pid = client.inspect(identifier)["State"]["Pid"]

        def zombies() -> int:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                states = [_state(int(child)) for child in file.read().split()]
            return states.count("Z")

        eventually(lambda: zombies() >= ZOMBIES, "there are no zombies")
        answers(client, docker, identifier)
        assert docker("exec", identifier, "echo", "in it").stdout == "in it\n"
        assert client.post(f"/containers/{identifier}/stop?t=0").status == 204
        assert client.inspect(identifier)["State"]["ExitCode"] == 137


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_a_fork_bomb_in_its_limits(client: Client, docker: Docker) -> None:
    bomb = "(while :; do sleep 1000 & done); exec sleep 1000"  # until it cannot fork any more
    with running(client, docker, bomb, PidsLimit=100, NanoCpus=500_000_000) as identifier:
        pid = client.inspect(identifier)["State"]["Pid"]
        start = process.start_time(pid)
        eventually(lambda: len(_top(client, identifier)) > 90, "it does not explode")
        answers(client, docker, identifier)
        assert process.start_time(pid) == start


def _top(client: Client, identifier: str) -> list[list[str]]:
    answer = client.get(f"/containers/{identifier}/top")
    return answer.json["Processes"] if answer.status == 200 else []
