"""2014's hang: containers that are killed in full traffic leave nothing that must be waited for.

Then a socket leaked a reference to the network namespace, the kernel said `unregister_netdevice: waiting for
lo to become free`, and every later container stood still. A namespace that is not freed shows here by its
veth, whose host end would stay.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.conftest import HOST, NEIGHBOUR, Engine

TRAFFIC = """
import socket, struct, sys, threading
gateway, neighbour = sys.argv[1:]

def send(channel, address):
    while True:
        try:
            channel.sendto(b"x" * 1000, address)
        except OSError:
            pass

stream = socket.create_connection((neighbour, 7004))
back = socket.create_server(("", 80))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
group.bind(("", 5353))
member = struct.pack("4s4s", socket.inet_aton("224.0.0.251"), socket.inet_aton("0.0.0.0"))
group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
local = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for channel, address in (
    (udp, (gateway, 9)), (udp, (neighbour, 9)), (group, ("224.0.0.251", 5353)), (local, ("::1", 9)),
):
    threading.Thread(target=send, args=(channel, address), daemon=True).start()
print("flowing", flush=True)
while True:
    stream.sendall(b"y" * 65536)
"""


@pytest.fixture
def sink(engine: Engine) -> Iterator[None]:
    """A neighbour that takes whatever comes over TCP."""
    listener = engine.lan.neighbour(lambda: socket.create_server((NEIGHBOUR, 7004), backlog=64))

    def drain(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while client.recv(1 << 20):
                pass

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drain, args=listener.accept()[:1], daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def links(engine: Engine) -> set[str]:
    return {name for _, name in engine.lan.host(socket.if_nameindex) if name.startswith("veth")}


def gone(engine: Engine, before: set[str]) -> None:
    """Wait until there are no other links than before."""
    deadline = time.monotonic() + 30
    while links(engine) != before:
        assert time.monotonic() < deadline, links(engine) - before
        time.sleep(0.05)


def test_data_that_nobody_takes_does_not_keep_the_link(engine: Engine) -> None:
    """The kernel still sends what a dead program has written, and the namespace lives as long."""
    before = links(engine)
    with engine.lan.neighbour(lambda: socket.create_server((NEIGHBOUR, 7005))) as listener:
        one = engine.run("sh", "-c", f"exec busybox nc {NEIGHBOUR} 7005 < /dev/zero")
        with listener.accept()[0] as peer:
            peer.recv(1)
            assert engine.client.delete(f"/containers/{one}?force=1").status == 204
            gone(engine, before)


def test_a_namespace_that_somebody_holds_keeps_neither_the_link_nor_the_address(engine: Engine) -> None:
    """As when the kernel itself does not let go ("waiting for lo to become free")."""
    before = links(engine)
    one = engine.run("sleep", "1000", name="held")
    found = engine.client.inspect(one)
    held = os.open(f"/proc/{found['State']['Pid']}/ns/net", os.O_RDONLY)
    try:
        assert engine.client.delete(f"/containers/{one}?force=1").status == 204
        gone(engine, before)
        other = engine.run("sleep", "1000", name="held")
        address = engine.client.inspect(other)["NetworkSettings"]["IPAddress"]
        assert address
        assert engine.client.delete(f"/containers/{other}?force=1").status == 204
        gone(engine, before)
    finally:
        os.close(held)


@pytest.mark.soak(500)
def test_a_container_that_is_killed_in_full_traffic_leaves_nothing(
    engine: Engine, sink: None, rounds: int
) -> None:
    """The host's own Python runs in the container, by a bind of the host's whole tree."""
    before = links(engine)
    python = str(Path(sys.executable).resolve())
    rounds = min(rounds, 3) if rounds < 500 else rounds
    slowest = 0.0
    for number in range(rounds):
        script = ("chroot", "/host", python, "-c", TRAFFIC)
        gateway = engine.client.get("/networks/bridge").json["IPAM"]["Config"][0]["Gateway"]
        ports = {"80/tcp": [{"HostPort": "8093"}], "9/udp": [{"HostPort": "8093"}]}
        one = engine.run(*script, gateway, NEIGHBOUR, Binds=["/:/host:ro"], PortBindings=ports)
        deadline = time.monotonic() + 60
        while b"flowing" not in (log := engine.client.get(f"/containers/{one}/logs?stdout=1&stderr=1").body):
            assert time.monotonic() < deadline, log
            time.sleep(0.01)
        inward = engine.lan.neighbour(lambda: socket.create_connection((HOST, 8093), 5))
        began = time.monotonic()
        if number % 2:
            engine.client.post(f"/containers/{one}/kill")
        assert engine.client.delete(f"/containers/{one}?force=1").status == 204
        slowest = max(slowest, time.monotonic() - began)
        inward.close()
        assert engine.client.get("/_ping").status == 200
        if number % 10 == 9:
            assert engine.client.get("/containers/json").json == []
    print(f"{rounds} rounds, the slowest removal took {slowest:.2f} s")
    gone(engine, before)
    tracked = Path("/proc/thread-self/net/nf_conntrack")
    if tracked.exists():
        subnet = gateway.rpartition(".")[0] + "."
        deadline = time.monotonic() + 10
        while f"src={subnet}" in (text := engine.lan.host(tracked.read_text).replace(f"src={gateway} ", "")):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
    assert "elements" not in engine.elements("published4-any")
