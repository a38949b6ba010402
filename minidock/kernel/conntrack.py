"""Connection tracking: forget the connections of an address, so that its next owner does not inherit them.

An entry of a UDP "connection" that stays behind would translate the next container's packets for minutes.
Since Linux 6.8 one netlink message deletes by filter, without a listing. Kernels before it (Debian 12's 6.1)
answer such a message with EINVAL, but they list by filter, and each of the listed is deleted by name.
nfnetlink_conntrack.h, netlink(7).
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER, FAMILY = struct.Struct("=IHHII"), struct.Struct(">BBH")
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_FILTER = 1, 2, 25
CTA_TUPLE_IP = 1
CTA_IP_V4_SRC, CTA_IP_V6_SRC = 1, 3
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
CTA_FILTER_F_CTA_IP_SRC = 0x1


def forget(address: str, one_by_one: bool = False) -> None:
    """Delete the connections that `address` began, and those that were led to it; OSError.

    `one_by_one` lists them first, as is done on a kernel that does not delete by filter.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        for side, flags in (
            (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
            (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
        ):
            body = _filter(address, side, flags)
            if not one_by_one:
                try:
                    _delete(channel, body, address)
                    continue
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                        raise
            for name in list(_listed(channel, body, address)):
                _delete(channel, body[: FAMILY.size] + name, address)


def _delete(channel: socket.socket, body: bytes, about: str) -> None:
    channel.send(_message(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, body))
    try:
        _check(channel.recv(4096), about)
    except FileNotFoundError:
        pass  # it has expired meanwhile


def _listed(channel: socket.socket, body: bytes, about: str) -> Iterator[bytes]:
    """Yield the attribute CTA_TUPLE_ORIG, which names a connection, of each that the filter lets through."""
    channel.send(_message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, body))
    while True:
        answer = channel.recv(1 << 16)
        while answer:
            size, kind = struct.unpack_from("=IH", answer)
            if kind == NLMSG_DONE:
                return
            _check(answer, about)
            yield _find(answer[HEADER.size + FAMILY.size : size], CTA_TUPLE_ORIG)
            answer = answer[size + -size % 4 :]


def _find(attributes: bytes, wanted: int) -> bytes:
    while attributes:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind & NLA_TYPE_MASK == wanted:
            return attributes[:length]
        attributes = attributes[length + -length % 4 :]
    return b""


def _filter(address: str, side: int, flags: int) -> bytes:
    """Return what describes the connections that have `address` as the source on one side."""
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    source = CTA_IP_V4_SRC if parsed.version == 4 else CTA_IP_V6_SRC
    tuple_ip = _attribute(CTA_TUPLE_IP | NLA_F_NESTED, _attribute(source, parsed.packed))
    body = FAMILY.pack(family, 0, 0) + _attribute(side | NLA_F_NESTED, tuple_ip)
    wanted = _attribute(flags, struct.pack("=I", CTA_FILTER_F_CTA_IP_SRC))
    other = CTA_FILTER_ORIG_FLAGS + CTA_FILTER_REPLY_FLAGS - flags
    return body + _attribute(CTA_FILTER | NLA_F_NESTED, wanted + _attribute(other, struct.pack("=I", 0)))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    kind |= NFNL_SUBSYS_CTNETLINK << 8
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def _check(answer: bytes, about: str) -> None:
    _, kind = struct.unpack_from("=IH", answer)
    (number,) = struct.unpack_from("=i", answer, 16)
    if kind == NLMSG_ERROR and number:
        raise OSError(-number, os.strerror(-number), about)
