"""Rows of published ports: what TCP through one costs from three places, and what five hundred of them cost.

An engine may live in a network namespace of its own, so a place is a namespace that a thread enters: the
engine's own for the two ends on its host, and a new one with a cable to it for another machine. veth(4).
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from pyroute2 import IPRoute

from bench.engines import IMAGE, Engine, Failed
from bench.measure import Contestant, Result, take_turns
from minidock.network import namespaces

MEGABYTES = 1024
PORT = 17171
FEW, MANY = 100, 500
HOST, NEIGHBOUR, PREFIX = "198.18.77.1", "198.18.77.2", 30  # of the range for such tests, RFC 2544
CABLE = "bench-cable"
PATIENCE = 20.0
# Takes all that comes and says how much it was. It runs with the host's Python, which the image has not.
RECEIVER = f"""
import socket
server = socket.create_server(("", {PORT}))
room = memoryview(bytearray(1 << 20))
while True:
    client, count = server.accept()[0], 0
    while got := client.recv_into(room):
        count += got
    client.sendall(str(count).encode())
    client.close()
"""
HOSTS_FILES = [word for name in ("/usr", "/lib", "/lib64") for word in ("-v", f"{name}:{name}:ro")]


def throughput(engines: Sequence[Engine], turns: int) -> Iterator[Result]:
    """Send a gigabyte to a container through a published port, from three places."""
    with contextlib.ExitStack() as stack:
        places = {engine.name: stack.enter_context(_served(engine)) for engine in engines}
        for title, address, is_outside in (
            ("127.0.0.1", "127.0.0.1", False),
            ("the host's own address", HOST, False),
            ("another machine", HOST, True),
        ):
            result = Result(f"{MEGABYTES} MB through a published port, from {title}", "s", "docker")
            contestants = {
                name: Contestant(_sender(place[is_outside], address)) for name, place in places.items()
            }
            take_turns(result, contestants, turns)
            yield result


def many_ports(engines: Sequence[Engine], turns: int) -> Iterator[Result]:
    """`run -d` and `rm -f` of a container that publishes many ports; of the most the subject alone, since a
    process a port takes dockerd two minutes.
    """
    for count, asked in ((FEW, engines), (MANY, engines[:1])):
        result = Result(f"{count} published ports, run -d and rm -f", "s", "docker")
        ports = f"18000-{18000 + count - 1}:18000-{18000 + count - 1}"
        take_turns(result, {e.name: Contestant(_come_and_go(e, ports)) for e in asked}, turns)
        yield result


def _come_and_go(engine: Engine, ports: str) -> Callable[[], object]:
    def act() -> None:
        engine.run("run", "-d", "--name", "ports", "-p", ports, IMAGE, "sleep", "600")
        engine.run("rm", "-f", "ports")

    return act


@contextlib.contextmanager
def _served(engine: Engine) -> Iterator[tuple[int, int]]:
    """Run the receiver and lay the cable; yields the namespaces of the engine's host and of its neighbour."""
    engine.run("run", "-d", "--name", "receiver", "-p", f"{PORT}:{PORT}", *HOSTS_FILES, IMAGE,
               "/usr/bin/python3", "-c", RECEIVER)  # fmt: skip
    host = os.open(f"/proc/{engine.processes()[0]}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    neighbour = namespaces.create()
    try:
        namespaces.inside(host, lambda: _connect_cable(neighbour))
        namespaces.inside(neighbour, lambda: _give_address("eth0", NEIGHBOUR))
        _wait_until_served(host)
        yield host, neighbour
    finally:
        os.close(neighbour)  # and the cable goes with it
        os.close(host)
        engine.run("rm", "-f", "receiver")


def _connect_cable(neighbour: int) -> None:
    peer = {"ifname": "eth0", "net_ns_fd": neighbour}
    with IPRoute() as route:
        route.link("add", ifname=CABLE, kind="veth", peer=peer)
    _give_address(CABLE, HOST)
    namespaces.bring_loopback_up()  # a private dockerd's is down


def _give_address(name: str, address: str) -> None:
    with IPRoute() as route:
        index = route.link_lookup(ifname=name)[0]
        route.addr("add", index=index, address=address, prefixlen=PREFIX)
        route.link("set", index=index, state="up")


def _wait_until_served(host: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if namespaces.inside(host, lambda: _send(HOST, 1)) == 1 << 20:
                return
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise Failed(f"nobody answers behind port {PORT}") from None
        time.sleep(0.1)


def _sender(place: int, address: str) -> Callable[[], object]:
    def act() -> None:
        got = namespaces.inside(place, lambda: _send(address, MEGABYTES))
        if got != MEGABYTES << 20:
            raise Failed(f"{got} bytes arrived of {MEGABYTES << 20}")

    return act


def _send(address: str, megabytes: int) -> int:
    """Send so much, and return how many bytes the receiver has counted."""
    piece = bytes(1 << 20)
    with socket.create_connection((address, PORT), PATIENCE) as client:
        for _ in range(megabytes):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        return int(client.recv(64) or b"0")
