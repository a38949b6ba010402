"""The few rtnetlink requests of a container's start, one after the other on a plain socket.

pyroute2 writes the messages. Its own conversation runs an event loop for each request, which costs more than
the kernel needs for the work itself: 7 ms of processor time for one endpoint against 4 (measured).
rtnetlink(7), netlink(7), veth(4).
"""

import ipaddress
import socket
import struct
from typing import Any

from minidock.network import links

NETLINK_ROUTE, NLMSG_ERROR = 0, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
IFF_UP = 0x1
RTN_UNICAST, RTPROT_STATIC = 1, 4
ANSWER_SIZE = 8192
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
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

        here = {"attrs": [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)]}
        pair = {"attrs": [("VETH_INFO_PEER", here)]}
        message = ifinfmsg()
        message["flags"] = message["change"] = IFF_UP
        # The message is about the host's end: only its `master` is looked up where it is to lie.
        message["attrs"] = [
            ("IFLA_IFNAME", other),
            ("IFLA_MTU", mtu),
            ("IFLA_NET_NS_FD", namespace),
            ("IFLA_MASTER", bridge),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", pair)]}),
        ]
        self._ask(message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)

    def add_address(self, index: int, text: str) -> None:
        """Give the link an "address/prefix"; an IPv6 one can be used at once, unasked whether it is taken."""
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

        interface = ipaddress.ip_interface(text)
        address, broadcast = str(interface.ip), None
        message = ifaddrmsg()
        message["index"], message["prefixlen"] = index, interface.network.prefixlen
        if interface.version == 6:
            message["family"], message["flags"] = links.AF_INET6, links.IFA_F_NODAD
        else:
            message["family"], broadcast = links.AF_INET, links.broadcast_of(text)
        message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        if broadcast is not None:
            message["attrs"].append(("IFA_BROADCAST", broadcast))
        self._ask(message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)

    def set_up(self, index: int) -> None:
        """Set the link up."""
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

        message = ifinfmsg()
        message["index"] = index
        message["flags"] = message["change"] = IFF_UP
        self._ask(message, RTM_NEWLINK)

    def add_default_route(self, index: int, gateway: str) -> None:
        """Lead what has no other way to `gateway`, out of the link."""
        from pyroute2.netlink.rtnl.rtmsg import rtmsg

        message = rtmsg()
        message["family"] = links.AF_INET6 if ":" in gateway else links.AF_INET
        message["table"], message["type"] = links.RT_TABLE_MAIN, RTN_UNICAST
        message["proto"] = RTPROT_STATIC
        message["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", index)]
        self._ask(message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)

    def _ask(self, message: Any, kind: int, flags: int = 0) -> None:
        header = message["header"]
        header["type"], header["flags"] = kind, NLM_F_REQUEST | NLM_F_ACK | flags
        message.encode()
        self._channel.send(message.data)
        _, answer, _, _, _, error = _ERROR.unpack_from(self._channel.recv(ANSWER_SIZE))
        if answer == NLMSG_ERROR and error:
            raise links.refused(-error)
