"""A network's bridge: a software switch of the host, whose own address is the network's gateway.

Many engines share a host, so a bridge says in its alias which engine it belongs to, and making one is
serialised by a lock that all engines of this network namespace find: the namespace's own file. A bridge that
somebody else made is used as it is and never removed. bridge(8), rtnetlink(7), flock(2).
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minidock.errors import Conflict
from minidock.network import links

ALIAS = "minidock "
MAXIMUM_NAME = 15


@dataclass(frozen=True)
class Bridge:
    """A bridge as it should be: `addresses` are "address/prefix"; `owner` names the engine."""

    name: str
    owner: str
    addresses: Sequence[str] = ()
    mtu: int = 1500


@contextlib.contextmanager
def host_locked() -> Iterator[None]:
    """Hold off every other engine that makes bridges or chooses subnets in this network namespace."""
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ensure(bridge: Bridge) -> None:
    """Make the bridge, or what of it is missing. Conflict when it is another engine's. Call it locked."""
    alias = ALIAS + bridge.owner
    with links.talking() as route:
        present = links.find(route, bridge.name)
        if present is None:
            index = _make(route, bridge, alias)
        else:
            if present.kind != "bridge":
                raise Conflict(f"{bridge.name} is not a bridge")
            if present.alias.startswith(ALIAS) and present.alias != alias:
                raise Conflict(
                    f"the bridge {bridge.name} belongs to the engine {present.alias[len(ALIAS) :]}"
                )
            index = present.index
        have = set(links.addresses_of(route, index))
        for text in bridge.addresses:
            if text not in have:
                address, _, prefix = text.partition("/")
                six = ":" in address
                how = {"flags": links.IFA_F_NODAD} if six else {"broadcast": links.broadcast_of(text)}
                route.addr("add", index=index, address=address, prefixlen=int(prefix), **how)
        if present is None or not present.is_up:
            route.link("set", index=index, state="up")


def remove(name: str, owner: str) -> None:
    """Remove a bridge that this engine made; does nothing when it is gone or somebody else's."""
    try:
        with links.talking() as route:
            present = links.find(route, name)
            if present is not None and present.alias == ALIAS + owner:
                route.link("del", index=present.index)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def adopted_addresses(name: str) -> list[str]:
    """Return the addresses of a bridge that is there already; [] when there is none."""
    with links.talking() as route:
        present = links.find(route, name)
        return [] if present is None else links.addresses_of(route, present.index)


def is_filtered() -> bool:
    """Whether frames between two ports of a bridge pass the rules for packets (br_netfilter).

    Then these rules keep containers apart. Isolated ports would also stop what NAT leads from one to another,
    which such a kernel passes on as a frame.
    """
    try:
        with open("/proc/sys/net/bridge/bridge-nf-call-iptables", encoding="ascii") as file:
            return file.read().strip() == "1"
    except FileNotFoundError:
        return False


def _make(route: links.Conversation, bridge: Bridge, alias: str) -> int:
    # Without an address of its own a bridge has that of one of its ports: it would change when a container
    # comes or goes, and all others would send to a gateway that is no more.
    address = "02:42:" + os.urandom(4).hex(":")
    route.link("add", ifname=bridge.name, kind="bridge", mtu=bridge.mtu, address=address)
    (index,) = route.link_lookup(ifname=bridge.name)
    route.link("set", index=index, ifalias=alias)
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        # A container must not be able to give the host routes by router advertisements (CVE-2020-13401).
        links.set_sysctl(f"net/ipv6/conf/{bridge.name}/accept_ra", "0")
        if not any(":" in address for address in bridge.addresses):
            links.set_sysctl(f"net/ipv6/conf/{bridge.name}/disable_ipv6", "1")
    return int(index)
