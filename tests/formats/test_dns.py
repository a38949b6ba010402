"""DNS messages: questions understood, answers made, and nothing else believed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.formats import dns

LABELS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20), min_size=1, max_size=8
)


def query(name: str, kind: int = dns.A, identifier: int = 7) -> bytes:
    return (
        struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0)
        + dns.encode_name(name)
        + struct.pack(">HH", kind, 1)
    )


@given(LABELS, st.integers(0, 65535))
def test_a_question_is_read_as_it_was_written(labels: list[str], identifier: int) -> None:
    name = ".".join(labels)
    question = dns.parse_question(query(name, dns.AAAA, identifier))
    assert (question.name, question.kind, question.identifier) == (name, dns.AAAA, identifier)


@given(st.binary(max_size=80))
def test_no_message_can_do_worse_than_be_refused(message: bytes) -> None:
    try:
        dns.parse_question(message)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "message",
    [
        b"",
        query("a")[:-1],
        query("a")[:12] + b"\xc0\x0c\0\1\0\1",
        query("a")[:12] + b"\x3f" + b"a" * 10,
        query("a")[:4] + b"\0\2" + query("a")[6:],
        query("a")[:2] + b"\x81\0" + query("a")[4:],
        query("a")[:-2] + b"\0\3",
    ],
)
def test_what_is_no_question_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        dns.parse_question(message)


def test_an_answer_repeats_the_question_and_holds_the_asked_kind_only() -> None:
    question = dns.parse_question(query("Web"))
    answer = dns.addresses(question, ["10.0.0.2", "fd00::2"])
    identifier, flags, questions, answers = struct.unpack_from(">HHHH", answer)
    assert (identifier, questions, answers, flags & 15) == (7, 1, 1, dns.NOERROR)
    assert flags & dns.RESPONSE
    assert b"\3Web\0" in answer
    assert answer.endswith(b"\0\4\x0a\0\0\2")


def test_a_name_without_an_address_of_the_kind_is_no_error() -> None:
    answer = dns.addresses(dns.parse_question(query("web", dns.AAAA)), ["10.0.0.2"])
    assert (answer[3] & 15, answer[6:8]) == (dns.NOERROR, b"\0\0")


def test_a_reverse_question_names_its_address() -> None:
    assert dns.reversed_address("2.0.17.172.in-addr.arpa") == "172.17.0.2"
    assert dns.reversed_address(".".join("2" + "0" * 29 + "df") + ".ip6.arpa") == "fd00::2"
    for name in ("x.in-addr.arpa", "1.2.3.in-addr.arpa", "web", "g." * 32 + "ip6.arpa"):
        assert dns.reversed_address(name) is None


def test_a_refusal_has_a_code_and_no_answer() -> None:
    answer = dns.refusal(dns.parse_question(query("x")), dns.SERVFAIL)
    assert (answer[3] & 15, answer[6:8]) == (dns.SERVFAIL, b"\0\0")


@pytest.mark.parametrize("name", ["a..b", "a" * 64, ""])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no domain name"):
        dns.encode_name(name)


@pytest.mark.parametrize(
    ("additional", "number", "whole"),
    [
        (b"", 30, True),
        (b"", 31, False),
        (b"\0\0\x29\x04\xd0\0\0\0\0\0\0", 60, True),  # EDNS: 1232 bytes
        (b"\0\0\x29\x04\xd0\0\0\0\0\0\0", 80, False),
        (b"\0\0\x29\x00\x10\0\0\0\0\0\0", 30, True),  # less than everybody takes
        (b"\0\0\x29\xff\xff\0\0\0\0\0\0", 300, False),  # more than is sent in one datagram
    ],
)
def test_a_long_answer_sends_the_asker_to_tcp(additional: bytes, number: int, whole: bool) -> None:
    query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0" + bytes([bool(additional)]) + b"\3web\0\0\1\0\1" + additional
    answer = dns.addresses(dns.parse_question(query), [f"10.0.{i // 250}.{i % 250}" for i in range(number)])
    fitting = dns.fitting(answer, query)
    if whole:
        assert fitting == answer
    else:
        assert int.from_bytes(fitting[2:4], "big") & dns.TRUNCATED
        assert (fitting[:2], fitting[6:8], fitting[12:]) == (b"\x12\x34", b"\0\0", b"\3web\0\0\1\0\1")
