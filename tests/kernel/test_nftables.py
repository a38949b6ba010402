"""libnftables in a network namespace of the test's own."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from minidock.kernel import conntrack, namespaces, nftables
from minidock.kernel.nftables import Nftables

TABLE = "table inet probe { set ports { type inet_service; }\n}\n"


@pytest.fixture
def nft() -> Iterator[Nftables]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    nft = Nftables()
    yield nft
    nft.close()
    namespaces.setns(before, namespaces.CLONE_NEWNET)
    os.close(before)


def test_what_is_added_is_listed(nft: Nftables) -> None:
    assert nft.run("list ruleset") == ""
    nft.run(TABLE)
    nft.run("add element inet probe ports { 80, 443 }")
    assert "elements = { 80, 443 }" in nft.run("list set inet probe ports")


def test_commands_are_one_transaction(nft: Nftables) -> None:
    with pytest.raises(OSError, match="nftables"):
        nft.run(TABLE + "add element inet elsewhere ports { 80 }\n")
    assert nft.run("list ruleset") == ""


@pytest.mark.parametrize(
    ("commands", "number"),
    [
        ("delete table inet absent", errno.ENOENT),
        ("this is no command", errno.EINVAL),
    ],
)
def test_a_failure_has_an_errno_and_the_librarys_words(nft: Nftables, commands: str, number: int) -> None:
    with pytest.raises(OSError, match="nftables") as caught:
        nft.run(commands)
    assert caught.value.errno == number
    assert caught.value.strerror


def test_what_exists_already_is_told_apart(nft: Nftables) -> None:
    nft.run(TABLE)
    with pytest.raises(FileExistsError):
        nft.run("create table inet probe")


def test_handles_are_listed_only_when_asked_for(nft: Nftables) -> None:
    nft.run("table inet probe { chain c { accept\n }\n }\n")
    assert "# handle" in nft.run("list chain inet probe c", handles=True)
    assert "# handle" not in nft.run("list chain inet probe c")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "LIBRARY", "libnftables-is-not-here.so")
    with pytest.raises(OSError, match="libnftables1"):
        Nftables()


@pytest.mark.parametrize("one_by_one", [False, True])
def test_the_connections_of_an_address_are_forgotten(nft: Nftables, one_by_one: bool) -> None:
    nft.run("table inet probe { chain c { type filter hook output priority 0; ct state new accept\n }\n }\n")
    from minidock.network.namespaces import bring_loopback_up

    bring_loopback_up()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for address in ("127.0.0.2", "127.0.0.3"):
            sender.bind(("127.0.0.1", 0)) if sender.getsockname()[1] == 0 else None
            sender.sendto(b"x", (address, 9))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.4", 0))
        other.sendto(b"x", ("127.0.0.1", 9))

    def entries() -> str:
        with open("/proc/thread-self/net/nf_conntrack", encoding="ascii") as file:
            return file.read()

    if not os.path.exists("/proc/thread-self/net/nf_conntrack"):
        pytest.skip("this kernel does not list connections in /proc")
    assert "src=127.0.0.4" in entries()
    conntrack.forget("127.0.0.4", one_by_one)
    assert "src=127.0.0.4" not in entries()
    assert "dst=127.0.0.2" in entries()
    conntrack.forget("127.0.0.3", one_by_one)
    assert "dst=127.0.0.3" not in entries()
