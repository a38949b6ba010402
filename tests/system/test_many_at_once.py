"""Many clients and much output at once: nothing is lost, and the daemon answers others meanwhile."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.conftest import Client, Daemon
from tests.system.conftest import Docker

CLIENTS = 8
MIB = 1 << 20
LINE = b"0123456789\n"
NO_NETWORK = {"NetworkMode": "none"}


@contextlib.contextmanager
def attached(client: Client, identifier: str) -> Iterator[socket.socket]:
    """Give a connection that has become the container's stdout and stdin."""
    with client.connect() as connection:
        query = "stream=1&stdin=1&stdout=1"
        lines = [f"POST /containers/{identifier}/attach?{query} HTTP/1.1", "Host: x", "Content-Length: 0"]
        request = "\r\n".join([*lines, "Connection: Upgrade", "Upgrade: tcp"]) + "\r\n\r\n"
        connection.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        yield connection


def output(connection: socket.socket) -> Iterator[bytes]:
    """Yield the payload of the frames until the end."""
    with connection.makefile("rb") as file:
        while header := file.read(8):
            yield file.read(struct.unpack(">BxxxL", header)[1])


@pytest.mark.soak(100)
@pytest.mark.timeout(600)
def test_many_start_at_once_while_many_wait(docker: Docker, system_daemon: Daemon, rounds: int) -> None:
    client = system_daemon.client()
    with contextlib.ExitStack() as stack:
        for number in range(5 * rounds):  # idle connections: half of them have asked for something before
            idle = stack.enter_context(client.connect())
            if number % 2:
                idle.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        names = [f"many-{number}" for number in range(rounds)]

        def run(name: str) -> str:
            done = docker("run", "-d", "--net", "none", "--name", name, docker.image, "sleep", "1000")
            return done.stdout.strip()

        with ThreadPoolExecutor(CLIENTS) as pool:
            identifiers = list(pool.map(run, names))
            pings = [client.get("/_ping").status for _ in range(rounds)]
        assert set(pings) == {200}
        running = {line["Id"] for line in client.get("/containers/json").json}
        assert set(identifiers) <= running
        assert docker("rm", "-f", *names).stdout.split() == names


@pytest.mark.soak(100)
@pytest.mark.timeout(600)
def test_every_one_of_many_clients_hears_every_line(
    docker: Docker, system_daemon: Daemon, rounds: int
) -> None:
    client = system_daemon.client()
    script = "read word; i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done"
    identifier = client.create("sh", "-c", script, host=NO_NETWORK, Image=docker.image, OpenStdin=True)
    client.start(identifier)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(attached(client, identifier)) for _ in range(rounds)]
        connections[-1].sendall(b"go\n")
        with ThreadPoolExecutor(rounds) as pool:
            heard = list(pool.map(lambda one: b"".join(output(one)), connections))
    assert set(heard) == {b"".join(b"line %d\n" % number for number in range(1000))}
    client.delete(f"/containers/{identifier}?force=1")


@pytest.mark.soak(256)
@pytest.mark.timeout(600)
def test_a_flood_arrives_whole_and_the_log_keeps_its_end(
    docker: Docker, system_daemon: Daemon, rounds: int
) -> None:
    """`rounds` is in MiB: the full 256, or more than the log's three files of 1 MB hold."""
    client = system_daemon.client()
    size, unit = rounds * MIB, 10_000_000 if rounds == 256 else 1_000_000
    options = {"max-size": str(unit), "max-file": "3"}
    host = {**NO_NETWORK, "LogConfig": {"Type": "json-file", "Config": options}}
    script = f"read word; yes {LINE[:-1].decode()} | head -c {size}"
    identifier = client.create("sh", "-c", script, host=host, Image=docker.image, OpenStdin=True)
    client.start(identifier)
    count, text = 0, LINE * (MIB // len(LINE))
    with attached(client, identifier) as connection:
        connection.sendall(b"go\n")
        for piece in output(connection):
            begin = count % len(LINE)
            assert piece == text[begin : begin + len(piece)]
            count += len(piece)
    assert count == size
    logged = client.get(f"/containers/{identifier}/logs?stdout=1&tail=1000").body
    assert logged.endswith(LINE[: size % len(LINE)] or LINE)
    path = Path(client.inspect(identifier)["LogPath"])
    files = sorted(path.parent.glob(f"{path.name}*"))
    assert len(files) == 3
    assert all(unit <= file.stat().st_size < unit + MIB for file in files[1:])
    client.delete(f"/containers/{identifier}?force=1")
