"""Links, addresses and routes of the calling thread's network namespace, through pyroute2.

pyroute2 takes 150 ms to import, so it is imported when the first link is made; its errors leave here as
OSError. A conversation must be opened, used and closed in one thread: pyroute2 keeps one socket a thread, and
used from another it would silently configure that thread's namespace. rtnetlink(7), veth(4).
"""

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minidock.network.addresses import Subnet

AF_INET, AF_INET6 = 2, 10
IFA_F_NODAD = 0x02
RT_TABLE_MAIN = 254
Conversation = Any  # pyroute2 carries no types


@dataclass(frozen=True)
class Link:
    """One link as the kernel describes it; `kind` is "" for a physical one."""

    index: int
    name: str
    kind: str
    alias: str
    master: int
    is_up: bool


@contextlib.contextmanager
def talking() -> Iterator[Conversation]:
    """Talk to the kernel; whatever it refuses is an OSError with its errno."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise refused(int(error.code)) from error


def refused(number: int) -> OSError:
    """Return the error for a request that the kernel has refused with this errno."""
    error = OSError(number, os.strerror(number), "rtnetlink")
    if number == errno.EPERM:
        error.add_note("the engine needs CAP_NET_ADMIN to make networks")
    return error


def prepare() -> None:
    """Import pyroute2 ahead of its first use."""
    with talking():
        pass


def find(route: Conversation, name: str) -> Link | None:
    """Return the link of this name; None when there is none."""
    found = route.link_lookup(ifname=name)
    return _link(route.get_links(found[0])[0]) if found else None


def members(route: Conversation, bridge: int) -> list[Link]:
    """Return the links that are ports of the bridge with this index."""
    return [link for link in map(_link, route.get_links()) if link.master == bridge]


def addresses_of(route: Conversation, index: int) -> list[str]:
    """Return the addresses of a link as "address/prefix", those of the link's own scope left out."""
    return [
        f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        for message in route.get_addr(index=index)
        if not ipaddress.ip_address(message.get_attr("IFA_ADDRESS")).is_link_local
    ]


def broadcast_of(text: str) -> str | None:
    """Return the broadcast address that goes with an IPv4 "address/prefix"; None where there is no room."""
    subnet = ipaddress.ip_interface(text).network
    return str(subnet.broadcast_address) if subnet.prefixlen < 31 else None


def subnets_in_use(route: Conversation) -> list[tuple[int, Subnet]]:
    """Return (link index, subnet) for what this host has routes to, the default routes left out."""
    found: list[tuple[int, Subnet]] = []
    for message in route.get_routes(table=RT_TABLE_MAIN):
        destination = message.get_attr("RTA_DST")
        if destination and message["family"] in (AF_INET, AF_INET6):
            subnet = ipaddress.ip_network(f"{destination}/{message['dst_len']}", strict=False)
            if subnet.prefixlen:
                found.append((message.get_attr("RTA_OIF") or 0, subnet))
    return found


def outgoing_mtu(route: Conversation, standard: int = 1500) -> int:
    """Return the MTU of the link that the IPv4 default route leads to, at most `standard`."""
    for message in route.get_default_routes(family=AF_INET):
        index = message.get_attr("RTA_OIF")
        if index:
            return min(standard, int(route.get_links(index)[0].get_attr("IFLA_MTU")))
    return standard


def set_sysctl(name: str, value: str) -> None:
    """Write /proc/sys/`name`, of the calling thread's namespace for names below net/."""
    with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
        file.write(value)


def _link(message: Any) -> Link:
    information = message.get_attr("IFLA_LINKINFO")
    kind = information.get_attr("IFLA_INFO_KIND") if information is not None else ""
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        is_up=bool(message["flags"] & 1),
    )
