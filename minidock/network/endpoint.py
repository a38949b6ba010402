"""An endpoint: one container's place in one network, a veth pair whose one end lies in its namespace.

The host's end is a port of the bridge. It needs no undo when the container dies: a veth pair goes with either
of its ends, and the container's end goes with its namespace. veth(4), rtnetlink(7).
"""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minidock.network import links, namespaces
from minidock.network.rtnetlink import Requests

# The kernel changes links one at a time, in whatever namespace. Who asks by netlink meanwhile sleeps, but a
# write to an IPv6 sysctl is tried over and over: with eight starts at once that was a third of all our time.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Interface:
    """What a container is to have: `name` inside, `link` on the host, "address/prefix" texts.

    `gateways` (at most one a family) get the default routes. With `hairpin` the bridge sends frames back to
    where they came from: so a container reaches its own published port where bridge-nf-call-iptables is 1.
    An `isolated` one exchanges frames with the bridge itself only, not with the others on it. `sysctls` are
    names below net/ and their values.
    """

    name: str
    link: str
    bridge: str
    mac: str
    addresses: Sequence[str]
    mtu: int = 1500
    gateways: Sequence[str] = ()
    hairpin: bool = False
    isolated: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A default route: by way of `gateway`, out of `interface`."""

    gateway: str
    interface: str


def plug(namespace: int, interface: Interface) -> None:
    """Make the veth pair and give the container's end its addresses; OSError, with nothing left behind."""
    try:
        bridge = socket.if_nametoindex(interface.bridge)
    except OSError as error:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), interface.bridge) from error
    host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _one_at_a_time:
            namespaces.inside(namespace, lambda: _make(interface, bridge, host))
            # The bridge takes its frames: it needs no address, and hears no router.
            _without_ipv6(interface.link)
        if interface.hairpin or interface.isolated:
            index = socket.if_nametoindex(interface.link)
            with links.talking() as route:
                route.brport("set", index=index, mode=interface.hairpin, isolated=interface.isolated)
    except BaseException:
        unplug(interface.link)
        raise
    finally:
        os.close(host)


def unplug(link: str) -> None:
    """Remove the pair by its host end; does nothing when it is gone, as it is when the namespace was."""
    try:
        with links.talking() as route:
            for index in route.link_lookup(ifname=link):
                route.link("del", index=index)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def set_default_routes(namespace: int, wanted: Sequence[Route]) -> None:
    """Replace the default routes of the namespace by `wanted` (at most one a family)."""

    def change() -> None:
        with links.talking() as route:
            for family in (links.AF_INET, links.AF_INET6):
                route.flush_routes(family=family, dst_len=0, table=links.RT_TABLE_MAIN, type=1)
            for one in wanted:
                index = socket.if_nametoindex(one.interface)
                default = "::/0" if ":" in one.gateway else "0.0.0.0/0"
                route.route("add", dst=default, gateway=one.gateway, oif=index)

    namespaces.inside(namespace, change)


def _make(interface: Interface, bridge: int, host: int) -> None:
    """Make and configure all of it in one conversation, from within the container's namespace."""
    with contextlib.closing(Requests()) as kernel:
        kernel.add_veth(interface.name, interface.mac, interface.mtu, interface.link, host, bridge)
        _configure(kernel, interface)


def _configure(kernel: Requests, interface: Interface) -> None:
    has_ipv6 = any(":" in address for address in interface.addresses)
    index = socket.if_nametoindex(interface.name)
    if not has_ipv6:
        _without_ipv6(interface.name)
    for text in interface.addresses:
        kernel.add_address(index, text)
    kernel.set_up(index)
    for gateway in interface.gateways:
        kernel.add_default_route(index, gateway)
    for name, value in interface.sysctls.items():
        links.set_sysctl(f"net/{name}", value)


def _without_ipv6(name: str) -> None:
    """Keep a link-local address away from a network without IPv6; a kernel without IPv6 has no such file."""
    path = f"net/ipv6/conf/{name}/disable_ipv6"
    if os.path.exists(f"/proc/sys/{path}"):
        links.set_sysctl(path, "1")
