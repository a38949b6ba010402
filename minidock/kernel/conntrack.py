"""Connection tracking: forget the connections of an address, so that its next owner does not inherit them.

An entry of a UDP "connection" that stays behind would translate the next container's packets for minutes. One
netlink message asks the kernel to delete by filter, without a listing. Kernels before 6.0 do not know the
filter: EINVAL or EOPNOTSUPP, and the entries expire by themselves. nfnetlink_conntrack.h, netlink(7).
"""

import ipaddress
import os
import socket
import struct

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE = 1, 2
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLA_F_NESTED = 0x8000
NLMSG_ERROR = 2
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_FILTER = 1, 2, 25
CTA_TUPLE_IP = 1
CTA_IP_V4_SRC, CTA_IP_V6_SRC = 1, 3
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
CTA_FILTER_F_CTA_IP_SRC = 0x1


def forget(address: str) -> None:
    """Delete the connections that `address` began, and those that were led to it; OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        for side, flags in (
            (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
            (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
        ):
            channel.send(_message(address, side, flags))
            _check(channel.recv(4096), address)


def _message(address: str, side: int, flags: int) -> bytes:
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    source = CTA_IP_V4_SRC if parsed.version == 4 else CTA_IP_V6_SRC
    tuple_ip = _attribute(CTA_TUPLE_IP | NLA_F_NESTED, _attribute(source, parsed.packed))
    body = struct.pack(">BBH", family, 0, 0) + _attribute(side | NLA_F_NESTED, tuple_ip)
    wanted = _attribute(flags, struct.pack("=I", CTA_FILTER_F_CTA_IP_SRC))
    other = CTA_FILTER_ORIG_FLAGS + CTA_FILTER_REPLY_FLAGS - flags
    body += _attribute(CTA_FILTER | NLA_F_NESTED, wanted + _attribute(other, struct.pack("=I", 0)))
    kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def _check(answer: bytes, about: str) -> None:
    _, kind = struct.unpack_from("=IH", answer)
    (number,) = struct.unpack_from("=i", answer, 16)
    if kind == NLMSG_ERROR and number:
        raise OSError(-number, os.strerror(-number), about)
