"""DNS messages: as much as a name server for containers reads and writes itself.

A question is understood, an answer of addresses or names is made; everything else is passed on untouched.
Names are compared without regard to case and keep the asker's spelling. RFC 1035 section 4, RFC 3596 (AAAA).
"""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, PTR, AAAA, ANY = 1, 12, 28, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
RESPONSE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
OPCODE = 0x7800
HEADER_SIZE = 12
LONGEST_NAME, LONGEST_LABEL = 255, 63
SMALL, LARGEST_WITH_EDNS = 512, 4096
"""What every UDP client takes, and what one is sent at most that says it takes more."""
OPT = 41


@dataclass(frozen=True)
class Question:
    """One question: `name` as asked, without the last dot; `raw` its bytes in the message."""

    identifier: int
    flags: int
    name: str
    kind: int
    raw: bytes


def parse_question(message: bytes) -> Question:
    """Return the one question of a query; ValueError says why it is none."""
    if len(message) < HEADER_SIZE:
        raise ValueError("the message is shorter than its header")
    identifier, flags, questions = struct.unpack_from(">HHH", message)
    if flags & RESPONSE or questions != 1:
        raise ValueError("it is not a query with one question")
    labels, position = [], HEADER_SIZE
    while True:
        if position >= len(message):
            raise ValueError("the name does not end")
        length = message[position]
        position += 1
        if length == 0:
            break
        if length > LONGEST_LABEL or position + length > len(message):
            raise ValueError("a label is too long, or compressed, which a question cannot be")
        labels.append(message[position : position + length])
        position += length
    if position - HEADER_SIZE > LONGEST_NAME or position + 4 > len(message):
        raise ValueError("the name is too long or nothing follows it")
    kind, group = struct.unpack_from(">HH", message, position)
    if group != IN:
        raise ValueError(f"class {group} is not IN")
    name = b".".join(labels).decode("latin-1")
    return Question(identifier, flags, name, kind, message[HEADER_SIZE : position + 4])


def addresses(question: Question, found: Sequence[str], ttl: int = 600) -> bytes:
    """Return the answer with those of the addresses that are of the asked kind; maybe none of them."""
    records = []
    for text in found:
        address = ipaddress.ip_address(text)
        kind = A if address.version == 4 else AAAA
        if question.kind in (kind, ANY):
            records.append(_record(kind, ttl, address.packed))
    return _reply(question, NOERROR, records)


def names(question: Question, found: Sequence[str], ttl: int = 600) -> bytes:
    """Return the answer to a reverse question."""
    return _reply(question, NOERROR, [_record(PTR, ttl, encode_name(name)) for name in found])


def fitting(answer: bytes, query: bytes) -> bytes:
    """Return an answer as UDP may carry it: the asker is told to come by TCP if it is too long for it."""
    if len(answer) <= _largest(query):
        return answer
    flags = struct.unpack_from(">H", answer, 2)[0] | TRUNCATED
    end = HEADER_SIZE + len(parse_question(query).raw)
    return answer[:2] + struct.pack(">HHHHH", flags, 1, 0, 0, 0) + answer[HEADER_SIZE:end]


def _largest(query: bytes) -> int:
    """Return the size of answer that a query allows: more than 512 bytes only with EDNS (RFC 6891)."""
    position = HEADER_SIZE + len(parse_question(query).raw)
    additional: int = struct.unpack_from(">H", query, 10)[0]
    if additional and query[position : position + 3] == b"\0" + struct.pack(">H", OPT):
        return max(SMALL, min(LARGEST_WITH_EDNS, int.from_bytes(query[position + 3 : position + 5], "big")))
    return SMALL


def refusal(question: Question, code: int) -> bytes:
    """Return an answer that has nothing but a code, such as SERVFAIL."""
    return _reply(question, code, [])


def reversed_address(name: str) -> str | None:
    """Return the address that `4.3.2.1.in-addr.arpa` (or a name in ip6.arpa) asks about; None for others."""
    labels = name.lower().rstrip(".").split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"]:
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:-2]))))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            return str(ipaddress.IPv6Address(int("".join(reversed(labels[:-2])), 16)))
    except ValueError:
        pass
    return None


def encode_name(name: str) -> bytes:
    """Return a name as a message holds it; ValueError for a label that is empty or too long."""
    encoded = b""
    for label in name.rstrip(".").split("."):
        data = label.encode("latin-1", "replace")
        if not 0 < len(data) <= LONGEST_LABEL:
            raise ValueError(f"{name!r} is no domain name")
        encoded += bytes([len(data)]) + data
    return encoded + b"\0"


def _record(kind: int, ttl: int, data: bytes) -> bytes:
    pointer = 0xC000 | HEADER_SIZE  # the name is the question's own
    return struct.pack(">HHHIH", pointer, kind, IN, ttl, len(data)) + data


def _reply(question: Question, code: int, records: Sequence[bytes]) -> bytes:
    flags = RESPONSE | (question.flags & (OPCODE | RECURSION_DESIRED)) | RECURSION_AVAILABLE | code
    return (
        struct.pack(">HHHHHH", question.identifier, flags, 1, len(records), 0, 0)
        + question.raw
        + b"".join(records)
    )
