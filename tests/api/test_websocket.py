"""attach/ws: a container's streams in the frames of a websocket, by a client of the test's own."""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from minidock.api import relaying, websocket
from minidock.api.connection import Head
from minidock.errors import InvalidParameter
from tests.api.conftest import Client

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ALL = "stream=1&stdin=1&stdout=1&stderr=1"
# The example of RFC 6455, section 1.3.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def frame(opcode: int, data: bytes, final: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    """Return a client's frame."""
    size = len(data)
    length = (
        bytes([128 | size]) if size < 126
        else struct.pack(">BH", 254, size) if size < 1 << 16
        else struct.pack(">BQ", 255, size)
    )  # fmt: skip
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    return bytes([opcode | 128 * final]) + length + mask + masked


class Session:
    """An open websocket."""

    def __init__(self, client: Client, identifier: str, query: str = ALL, **headers: str) -> None:
        self.socket = client.connect()
        lines = [f"GET /containers/{identifier}/attach/ws?{query} HTTP/1.1", "Host: x"]
        given = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY}
        given |= {"Sec-WebSocket-Version": "13", **headers}
        lines += [f"{name}: {value}" for name, value in given.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.head = "".join(iter(lambda: self.file.readline().decode().replace("\r\n", ""), ""))

    def send(self, opcode: int, data: bytes) -> None:
        self.socket.sendall(frame(opcode, data))

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield (opcode, payload) until the end of the connection."""
        while head := self.file.read(2):
            size = head[1]
            if size >= 126:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            yield head[0] & 15, self.file.read(size)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_the_streams_come_in_frames_and_the_session_ends_with_the_container(containers: Client) -> None:
    identifier = containers.create("sh", "-c", "read word; echo out $word; read word; echo err $word >&2",
                                   OpenStdin=True)  # fmt: skip
    with contextlib.closing(Session(containers, identifier)) as session:
        assert f"Sec-WebSocket-Accept: {ACCEPT}" in session.head
        containers.start(identifier)
        session.send(TEXT, b"one\n")
        session.send(PING, b"are you there")
        found = session.frames()
        assert {next(found), next(found)} == {(BINARY, b"out one\n"), (PONG, b"are you there")}
        session.send(BINARY, b"two\n")
        assert list(found) == [(BINARY, b"err two\n"), (CLOSE, b"\x03\xe8")]


def test_much_passes_byte_for_byte(containers: Client) -> None:
    data = os.urandom(300_000)
    identifier = containers.create("head", "-c", str(len(data)), OpenStdin=True)
    with contextlib.closing(Session(containers, identifier)) as session:
        containers.start(identifier)
        session.send(BINARY, data)
        assert b"".join(payload for opcode, payload in session.frames() if opcode == BINARY) == data


@pytest.mark.only_minidock  # dockerd sends all streams
def test_the_log_comes_first_and_only_the_streams_asked_for(containers: Client) -> None:
    identifier, _ = containers.run("sh", "-c", "echo out; echo err >&2")
    with contextlib.closing(Session(containers, identifier, "logs=1&stderr=1")) as session:
        assert list(session.frames()) == [(BINARY, b"err\n"), (CLOSE, b"\x03\xe8")]


@pytest.mark.only_minidock  # dockerd closes without an answer
def test_a_client_that_closes_is_answered_and_the_container_lives_on(containers: Client) -> None:
    identifier = containers.create("sleep", "1000")
    containers.start(identifier)
    with contextlib.closing(Session(containers, identifier)) as session:
        session.send(CLOSE, b"\x03\xe8bye")
        assert list(session.frames()) == [(CLOSE, b"\x03\xe8")]
    assert containers.inspect(identifier)["State"]["Running"]


@pytest.mark.only_minidock  # dockerd takes more
@pytest.mark.parametrize(
    "wrong",
    [{"Upgrade": "tcp"}, {"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": "c2hvcnQ="}],
)  # fmt: skip
def test_what_is_no_websocket_is_400(containers: Client, wrong: dict[str, str]) -> None:
    identifier = containers.create("true")
    with contextlib.closing(Session(containers, identifier, **wrong)) as session:
        assert session.head.startswith("HTTP/1.1 400")


def test_the_answer_is_the_standards_own() -> None:
    headers = {"connection": "keep-alive, Upgrade", "upgrade": "WebSocket", "sec-websocket-version": "13"}
    head = Head("GET", "/", {**headers, "sec-websocket-key": KEY})
    assert f"Sec-WebSocket-Accept: {ACCEPT}" in websocket.accept(head)
    with pytest.raises(InvalidParameter):
        websocket.accept(Head("GET", "/", headers))


@given(some.lists(some.tuples(some.binary(max_size=300), some.binary(min_size=4, max_size=4))), some.data())
def test_frames_may_be_cut_anywhere(pieces: list[tuple[bytes, bytes]], data: some.DataObject) -> None:
    stream = b"".join(
        frame(0 if index else BINARY, payload, False, mask) + frame(PING, b"p", mask=mask)
        for index, (payload, mask) in enumerate(pieces)
    )
    cuts = sorted(data.draw(some.sets(some.integers(0, len(stream)), max_size=8)))
    codec = websocket.Frames()
    found = b"".join(
        codec.decode(stream[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )  # fmt: skip
    assert found == b"".join(payload for payload, _ in pieces)
    assert bytes(codec.replies) == b"\x8a\x01p" * len(pieces)
    assert not codec.has_ended


@pytest.mark.parametrize(
    "bad",
    [
        b"\x82\x01a",  # not masked, as a client's must be
        frame(3, b"unknown"),
        bytes([0x82 | 0x40]) + frame(BINARY, b"reserved bit")[1:],
        frame(PING, b"x", final=False),
        frame(CLOSE, b"x" * 126),
    ],
)
def test_a_frame_that_is_none_ends_the_session(bad: bytes) -> None:
    codec = websocket.Frames()
    assert codec.decode(bad + frame(BINARY, b"more")) == b""
    assert codec.has_ended
    assert bytes(codec.replies) == b"\x88\x02\x03\xea"


def test_what_is_sent_has_its_length_in_the_shortest_form() -> None:
    for size, head in (
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (70000, b"\x82\x7f" + (70000).to_bytes(8, "big")),
    ):
        assert websocket.Frames().encode(bytes(size))[: len(head)] == head


def test_a_client_that_is_reset_after_its_input_ended_ends_the_relay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours = socket.socket(fileno=relaying.relay(server.accept()[0]))
    with ours:
        peer.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        hang_up = select.poll()
        hang_up.register(ours, 0)
        assert hang_up.poll(20_000) == [(ours.fileno(), select.POLLHUP)]
