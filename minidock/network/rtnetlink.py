"""The few rtnetlink requests of a container's start, one after the other on a plain socket.

A request is a header, a fixed structure, and attributes: each a length, a number, and bytes, which may be
attributes again. pyroute2 does the rest of our netlink. It runs an event loop for each request, which costs
more than the kernel's own work: 7 ms of processor time for an endpoint, where this needs 2 (measured).
rtnetlink(7), netlink(7), veth(4).
"""

import ipaddress
import socket
import struct

from minidock.network import links

NETLINK_ROUTE, NLMSG_ERROR = 0, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_OIF, RTA_GATEWAY = 4, 5
RTN_UNICAST, RTPROT_STATIC = 1, 4
ANSWER_SIZE = 8192
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, sender
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which of them change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, two prefix lengths, tos, table, ..., flags
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, number
_NUMBER = struct.Struct("=I")
_ERROR = struct.Struct("=IHHIIi")  # struct nlmsghdr, then the error as a negative number, 0 for success


class Requests:
    """A conversation with the kernel about the namespace of the thread that opened it.

    Every method makes one request and raises OSError, with the kernel's errno, when it is refused.
    """

    def __init__(self) -> None:
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)

    def close(self) -> None:
        """End the conversation."""
        self._channel.close()

    def add_veth(self, name: str, mac: str, mtu: int, other: str, namespace: int, bridge: int) -> None:
        """Make a veth pair: `name` here, and `other`, up and a port of `bridge`, in the namespace behind the
        descriptor `namespace`. `bridge` is an index there.
        """
        here = _text(IFLA_IFNAME, name) + _number(IFLA_MTU, mtu)
        here += _attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        pair = _attribute(VETH_INFO_PEER, _link() + here)
        kind = _text(IFLA_INFO_KIND, "veth") + _attribute(IFLA_INFO_DATA, pair)
        # The message is about the host's end: only its master is looked up where it is to lie.
        there = _text(IFLA_IFNAME, other) + _number(IFLA_MTU, mtu) + _number(IFLA_NET_NS_FD, namespace)
        there += _number(IFLA_MASTER, bridge) + _attribute(IFLA_LINKINFO, kind)
        self._ask(RTM_NEWLINK, _link(flags=IFF_UP) + there, NLM_F_CREATE | NLM_F_EXCL)

    def add_address(self, index: int, text: str) -> None:
        """Give the link an "address/prefix"; an IPv6 one can be used at once, unasked whether it is taken."""
        interface = ipaddress.ip_interface(text)
        family, flags = links.AF_INET, 0
        attributes = _attribute(IFA_LOCAL, interface.packed) + _attribute(IFA_ADDRESS, interface.packed)
        broadcast = links.broadcast_of(text) if interface.version == 4 else None
        if interface.version == 6:
            family, flags = links.AF_INET6, links.IFA_F_NODAD
        if broadcast is not None:
            attributes += _attribute(IFA_BROADCAST, ipaddress.ip_address(broadcast).packed)
        body = _ADDRESS.pack(family, interface.network.prefixlen, flags, 0, index)
        self._ask(RTM_NEWADDR, body + attributes, NLM_F_CREATE | NLM_F_EXCL)

    def set_up(self, index: int) -> None:
        """Set the link up."""
        self._ask(RTM_NEWLINK, _link(index, IFF_UP))

    def add_default_route(self, index: int, gateway: str) -> None:
        """Lead what has no other way to `gateway`, out of the link."""
        address = ipaddress.ip_address(gateway)
        family = links.AF_INET6 if address.version == 6 else links.AF_INET
        body = _ROUTE.pack(family, 0, 0, 0, links.RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0)
        body += _attribute(RTA_GATEWAY, address.packed) + _number(RTA_OIF, index)
        self._ask(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL)

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> None:
        length = _HEADER.size + len(body)
        self._channel.send(_HEADER.pack(length, kind, NLM_F_REQUEST | NLM_F_ACK | flags, 0, 0) + body)
        _, answer, _, _, _, error = _ERROR.unpack_from(self._channel.recv(ANSWER_SIZE))
        if answer == NLMSG_ERROR and error:
            raise links.refused(-error)


def _link(index: int = 0, flags: int = 0) -> bytes:
    return _LINK.pack(0, 0, index, flags, flags)


def _attribute(number: int, payload: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, number) + payload + bytes(-length % 4)


def _number(number: int, value: int) -> bytes:
    return _attribute(number, _NUMBER.pack(value))


def _text(number: int, value: str) -> bytes:
    return _attribute(number, value.encode() + b"\0")
