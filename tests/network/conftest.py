"""A host of the test's own: a network namespace with a neighbour on its LAN, and an engine inside.

Nothing here touches the links and rules of the machine: whatever is to happen in a namespace runs in a thread
or a process that has entered it, and the namespaces die with their descriptors.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from minidock.kernel import namespaces as kernel
from minidock.kernel.nftables import Nftables
from minidock.network import links, namespaces
from tests.api.conftest import Client, Daemon, busybox_tar, end_daemon, start_daemon
from tests.conftest import TIME_SCALE

HOST, NEIGHBOUR = "10.9.0.1", "10.9.0.2"
HOST6, NEIGHBOUR6 = "fd09::1", "fd09::2"
IMAGE = "minidock-network-test:latest"
PATIENCE = 10.0 * TIME_SCALE
Result = TypeVar("Result")


@pytest.fixture
def own_namespace() -> Iterator[None]:
    """Run the test in a network namespace of its own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    kernel.unshare(kernel.CLONE_NEWNET)
    namespaces.bring_loopback_up()
    yield
    kernel.setns(before, kernel.CLONE_NEWNET)
    os.close(before)


class Lan:
    """Two namespaces, `host` and `neighbour`, with a cable between them."""

    def __init__(self) -> None:
        self._host, self._neighbour = namespaces.create(), namespaces.create()
        namespaces.inside(self._host, self._cable)
        namespaces.inside(self._neighbour, lambda: _address("lan1", NEIGHBOUR, NEIGHBOUR6))

    def host(self, function: Callable[[], Result]) -> Result:
        """Call `function` on the host."""
        return namespaces.inside(self._host, function)

    def neighbour(self, function: Callable[[], Result]) -> Result:
        """Call `function` on the neighbour."""
        return namespaces.inside(self._neighbour, function)

    def inside(self, pid: int, function: Callable[[], Result]) -> Result:
        """Call `function` in the network namespace of a process."""
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            return namespaces.inside(descriptor, function)
        finally:
            os.close(descriptor)

    def on_host(self, *command: str) -> str:
        """Run a program on the host and return what it printed."""
        path = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}

        def run() -> str:
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=path)
            return done.stdout

        return self.host(run)

    def nft(self, commands: str) -> str:
        """Run nft commands on the host and return what they print."""

        def run() -> str:
            nft = Nftables()
            try:
                return nft.run(commands)
            finally:
                nft.close()

        return self.host(run)

    def close(self) -> None:
        os.close(self._host)
        os.close(self._neighbour)

    def _cable(self) -> None:
        with links.talking() as route:
            peer = {"ifname": "lan1", "net_ns_fd": self._neighbour}
            route.link("add", ifname="lan0", kind="veth", peer=peer)
        _address("lan0", HOST, HOST6)


def cable_to(other: int, name: str, address: str, their_address: str) -> None:
    """Lay a cable from the calling thread's namespace to another; addresses are "address/prefix"."""
    with links.talking() as route:
        route.link("add", ifname=name, kind="veth", peer={"ifname": "cable", "net_ns_fd": other})

    def configure(link: str, text: str) -> None:
        subprocess.run(["ip", "addr", "add", text, "dev", link], check=True)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)

    configure(name, address)
    namespaces.inside(other, lambda: configure("cable", their_address))
    namespaces.inside(
        other,
        lambda: subprocess.run(
            ["ip", "route", "add", "default", "via", address.partition("/")[0]], check=True
        ),
    )


def _address(name: str, *addresses: str) -> None:
    with links.talking() as route:
        (index,) = route.link_lookup(ifname=name)
        for address in addresses:
            six = ":" in address
            flags = {"flags": links.IFA_F_NODAD} if six else {}
            route.addr("add", index=index, address=address, prefixlen=64 if six else 24, **flags)
        route.link("set", index=index, state="up")


def ask(address: str, port: int, message: bytes = b"") -> bytes:
    """Connect, send `message`, and return all that comes back; ConnectionError or TimeoutError."""
    with socket.create_connection((address, port), timeout=3) as channel:
        if message:
            channel.sendall(message)
        channel.shutdown(socket.SHUT_WR)
        received = b""
        while piece := channel.recv(65536):
            received += piece
        return received


def refused(address: str, port: int) -> bool:
    """Whether nobody can be reached there."""
    try:
        ask(address, port)
    except (ConnectionError, TimeoutError, OSError):
        return True
    return False


class Engine:
    """The daemon on the LAN's host, and words for tests."""

    def __init__(self, lan: Lan, daemon: Daemon) -> None:
        self.lan, self.daemon = lan, daemon
        self.client: Client = daemon.client()

    def run(self, *command: str, network: str = "", **host: Any) -> str:
        """Start a container and return its id; keyword arguments in capitals are Docker's HostConfig."""
        config = {name: host.pop(name) for name in list(host) if name in ("ExposedPorts", "Env", "Hostname")}
        networking = host.pop("EndpointsConfig", {})
        body = {
            "Image": IMAGE,
            "Cmd": list(command or ("sleep", "1000")),
            "HostConfig": {"NetworkMode": network or "default", **host},
            "NetworkingConfig": {"EndpointsConfig": networking},
            **config,
        }
        created = self.client.post("/containers/create", body)
        assert created.status == 201, created.body
        identifier = str(created.json["Id"])
        self.client.start(identifier)
        return identifier

    def remove(self, *identifiers: str) -> None:
        for identifier in identifiers:
            self.client.delete(f"/containers/{identifier}?force=1")

    def settings(self, identifier: str) -> Any:
        return self.client.inspect(identifier)["NetworkSettings"]

    def pid(self, identifier: str) -> int:
        return int(self.client.inspect(identifier)["State"]["Pid"])

    def serve(self, identifier: str, port: int, answer: bytes) -> "contextlib.AbstractContextManager[None]":
        """Answer every TCP connection to `port` in the container's namespace with `answer`."""
        return _serving(self.lan, self.pid(identifier), port, answer)

    @property
    def bridge(self) -> str:
        return str(self.client.get("/networks/bridge").json["Options"]["com.docker.network.bridge.name"])

    def elements(self, name: str) -> str:
        """Return a map of the engine's nft table as nft prints it."""
        return self.lan.nft(f"list map inet minidock-{self.bridge} {name}")


@contextlib.contextmanager
def _serving(lan: Lan, pid: int, port: int, answer: bytes) -> Iterator[None]:
    import threading

    def listen() -> socket.socket:
        return socket.create_server(("", port), backlog=16)

    listener = lan.inside(pid, listen)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    lan = Lan()
    yield lan
    lan.close()


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="minidock-network-", dir="/var/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def engine(lan: Lan, directory: Path) -> Iterator[Engine]:
    """An engine on the LAN's host, with the image; afterwards nothing of it is left there."""
    # The bridge has no name of ours: the engine chooses one, as for every engine that is not the host's own.
    daemon = lan.host(lambda: start_daemon(directory / "engine", "--bridge", ""))
    engine = Engine(lan, daemon)
    repository, _, tag = IMAGE.partition(":")
    loaded = engine.client.post(f"/images/create?fromSrc=-&repo={repository}&tag={tag}", busybox_tar())
    assert loaded.status == 200, loaded.body
    yield engine
    end_daemon(engine.daemon)
    assert lan.nft("list ruleset") == ""
    left = {name for _, name in lan.host(socket.if_nameindex)}
    assert {name for name in left if name.startswith(("md-", "br-"))} == set()
