import io
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.cli.client import DEFAULT_HOST, Client, encode, filters
from minidock.cli.connection import Connection, quote
from minidock.cli.failure import CannotConnect, EngineError, Failure
from minidock.paths import DEFAULT_HOST as HOST_OF_THE_ENGINE

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return the function that lets `behaviour` treat the next client, and says where."""
    listeners: list[socket.socket] = []

    def start(behaviour: Callable[[socket.socket], None]) -> str:
        listener = socket.socket(socket.AF_UNIX)
        path = str(tmp_path / f"s{len(listeners)}")
        listener.bind(path)
        listener.listen()
        listeners.append(listener)

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                behaviour(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"unix://{path}"

    yield start
    for listener in listeners:
        listener.close()


def answering(*pieces: bytes) -> Callable[[socket.socket], None]:
    def behaviour(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)

    return behaviour


def test_a_body_ends_by_length_by_chunks_or_by_the_end(serve: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    for rest in (
        [b"Content-Length: 5\r\n\r\nhe", b"lloxxx"],
        [b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3;x=y\r\nllo\r", b"\n0\r\n\r\n"],
        [b"\r\nhel", b"lo"],
    ):
        response = Connection(serve(answering(head, *rest))).request("GET", "/", {})
        assert (response.status, response.read()) == (200, b"hello")


def test_lines_are_given_out_when_they_are_complete(serve: Serve) -> None:
    host = serve(answering(b"HTTP/1.1 200 OK\r\n\r\n{1}\n{", b"2}\n{3}"))
    assert list(Connection(host).request("GET", "/", {}).lines()) == [b"{1}", b"{2}", b"{3}"]


def test_what_follows_an_upgrade_is_not_lost(serve: Serve) -> None:
    connection = Connection(serve(answering(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly")))
    assert connection.request("POST", "/", {}).status == 101
    assert connection.receive() == b"early"


def test_a_cut_answer_is_an_error_not_a_short_body(serve: Serve) -> None:
    response = Connection(serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe"))).request(
        "GET", "/", {}
    )
    with pytest.raises(Failure, match="unexpected EOF"):
        response.read()
    with pytest.raises(Failure, match="does not speak HTTP"):
        Connection(serve(answering(b"SSH-2.0\r\n"))).request("GET", "/", {})


def test_a_refusal_in_the_middle_of_an_upload_is_heard(serve: Serve) -> None:
    host = serve(answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"))
    response = Connection(host).request("POST", "/", {}, io.BytesIO(bytes(4_000_000)))
    assert (response.status, response.read()) == (400, b"no")


def test_a_file_is_sent_in_chunks(serve: Serve) -> None:
    received = bytearray()

    def behaviour(connection: socket.socket) -> None:
        while not received.endswith(b"0\r\n\r\n"):
            received.extend(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert Connection(serve(behaviour)).request("POST", "/", {}, io.BytesIO(b"data")).status == 204
    assert received.endswith(b"4\r\ndata\r\n0\r\n\r\n")


def test_tcp_is_spoken_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                answering(b"HTTP/1.1 200 OK\r\n\r\nhello")(connection)

        threading.Thread(target=accept, daemon=True).start()
        assert Connection(address).request("GET", "/", {}).read() == b"hello"


def test_nobody_there_is_told_apart_from_an_address_that_makes_no_sense() -> None:
    with pytest.raises(CannotConnect, match="Cannot connect to the minidock daemon at unix:///nonexistent/s"):
        Connection("unix:///nonexistent/s")
    with pytest.raises(Failure, match="invalid bind address format: foo://x"):
        Connection("foo://x")


def test_the_engines_own_sentence_reaches_the_user(serve: Serve) -> None:
    answer = b'HTTP/1.1 409 Conflict\r\nContent-Length: 24\r\n\r\n{"message":"name taken"}'

    def behaviour(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\n\r\n")
        assert connection.recv(65536).startswith(b"POST /v1.41/x HTTP/1.1")
        connection.sendall(answer)

    with pytest.raises(EngineError, match="Error response from daemon: name taken") as caught:
        Client(serve(behaviour)).call("POST", "/x")
    assert caught.value.status == 409


def test_queries_are_sorted_and_leave_out_what_is_empty() -> None:
    query = encode({"b": True, "a": "x y&z", "c": False, "d": "", "e": ["1", "2"], "f": None, "t": "0"})
    assert query == "?a=x+y%26z&b=1&e=1&e=2&t=0"
    assert filters([("label", "b"), ("label", "a=1")]) == '{"label":{"a=1":true,"b":true}}'
    assert (filters([]), quote("a/b:c", b"/:")) == ("", "a/b:c")


def test_both_sides_mean_the_same_default_host() -> None:
    assert DEFAULT_HOST == HOST_OF_THE_ENGINE
