"""HTTP on a unix socket: framing, limits, leaving clients; with routes made for these tests and no engine."""

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.api import connection as connection_module
from minidock.api import server as server_module
from minidock.api.dispatch import Dispatcher
from minidock.api.exchange import JSON_LIMIT, Exchange, Reply, json_reply
from minidock.api.listener import listen
from minidock.api.routes import Router
from minidock.api.server import KEPT_THREADS, Server
from minidock.errors import InvalidParameter, NotFound
from tests.api.conftest import eventually


class Routes:
    """A few routes with known answers, and what became of them."""

    def __init__(self) -> None:
        self.forever = os.eventfd(0)
        self.given_away: list[tuple[int, bytes]] = []

    def echo(self, engine: Any, exchange: Exchange) -> Reply:
        return Reply(200, exchange.body().read(), "application/octet-stream")

    def say(self, engine: Any, exchange: Exchange) -> Reply:
        return json_reply({"path": exchange.path, "version": list(exchange.version)})

    def parse(self, engine: Any, exchange: Exchange) -> Reply:
        return json_reply(exchange.json())

    def ignore(self, engine: Any, exchange: Exchange) -> Reply:
        return json_reply("ignored")

    def fail(self, engine: Any, exchange: Exchange) -> Reply:
        raise ZeroDivisionError("on purpose")

    def missing(self, engine: Any, exchange: Exchange) -> Reply:
        raise NotFound("No such thing: x")

    def wait(self, engine: Any, exchange: Exchange) -> None:
        with exchange.stream("application/json") as stream:
            exchange.watch(self.forever)
            stream.write(b"never")

    def broken(self, engine: Any, exchange: Exchange) -> None:
        with exchange.stream("application/json") as stream:
            stream.write(b"half")
            raise InvalidParameter("in the middle")

    def take(self, engine: Any, exchange: Exchange) -> None:
        descriptor, early = exchange.hijack("application/vnd.docker.raw-stream")
        self.given_away.append((descriptor, early))
        os.write(descriptor, b"hello")

    def table(self) -> list[tuple[str, str, Callable[..., Reply | None]]]:
        return [
            ("POST", "/echo", self.echo),
            ("GET", "/say/{name}", lambda engine, exchange, name: self.say(engine, exchange)),
            ("GET", "/say", self.say),
            ("HEAD", "/say", self.say),
            ("POST", "/parse", self.parse),
            ("POST", "/ignore", self.ignore),
            ("GET", "/fail", self.fail),
            ("GET", "/missing", self.missing),
            ("GET", "/wait", self.wait),
            ("GET", "/broken", self.broken),
            ("POST", "/take", self.take),
        ]


@pytest.fixture
def routes() -> Iterator[Routes]:
    routes = Routes()
    yield routes
    os.close(routes.forever)
    for descriptor, _ in routes.given_away:
        os.close(descriptor)


def in_background(directory: Path, routes: Routes, name: str = "t") -> tuple[Server, threading.Thread]:
    """Start a server on the socket `name` in `directory`."""
    dispatcher = Dispatcher(None, Router(routes.table()))  # type: ignore[arg-type]
    server = Server([listen(f"unix://{directory}/{name}", None)], dispatcher.serve)
    thread = threading.Thread(target=server.run)
    thread.start()
    return server, thread


@pytest.fixture
def running(tmp_path: Path, routes: Routes) -> Iterator[Server]:
    server, thread = in_background(tmp_path, routes, "s")
    yield server
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def connect(tmp_path: Path, running: Server) -> Iterator[Callable[[], socket.socket]]:
    with contextlib.ExitStack() as stack:

        def connected() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(20)
            client.connect(f"{tmp_path}/s")
            return client

        yield connected


Connect = Callable[[], socket.socket]


def encoded(method: str, target: str, *headers: str, body: bytes = b"", close: bool = False) -> bytes:
    """Return a request as bytes, with Content-Length unless `headers` say how it is framed."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
    if body and not any(line.startswith(("Content-Length", "Transfer-Encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def until_closed(client: socket.socket) -> bytes:
    """Read until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            data += piece
    return data


def until(client: socket.socket, end: bytes) -> bytes:
    """Read until the answer so far ends with `end`."""
    data = b""
    while not data.endswith(end):
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def client_threads() -> int:
    return sum(thread.name == "client" for thread in threading.enumerate())


def test_several_requests_share_a_connection(connect: Connect) -> None:
    client = connect()
    for number in range(3):
        client.sendall(b"GET /v1.%d/say HTTP/1.1\r\nHost: x\r\n\r\n" % (30 + number))
        assert b'"version":[1,%d]' % (30 + number) in until(client, b"}\n")


def test_pipelined_requests_are_answered_in_order(connect: Connect) -> None:
    client = connect()
    requests = b"".join(b"GET /say/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3))
    client.sendall(requests + b"GET /say HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = until_closed(client)
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.index(b"/say/0") < answer.index(b"/say/1") < answer.index(b"/say/2")


def test_names_are_decoded(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /say/a%2Fb%3Ac HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'"/say/a/b:c"' in until_closed(client)


def test_an_empty_host_and_an_absolute_target_are_fine(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET http://docker/say HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n")
    assert b'"path":"/say"' in until_closed(client)


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_a_chunked_body_arrives_whole(connect: Connect, size: int) -> None:
    client = connect()
    body = os.urandom(size)
    client.sendall(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    sender = threading.Thread(target=_send_chunks, args=(client, body))
    sender.start()
    answer = until_closed(client)
    sender.join()
    assert answer.partition(b"\r\n\r\n")[2] == body


def test_a_body_with_a_length_arrives_whole_after_100_continue(connect: Connect) -> None:
    client = connect()
    client.sendall(encoded("POST", "/echo", "Content-Length: 5", "Expect: 100-continue", close=True))
    assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    client.sendall(b"hello")
    assert until_closed(client).endswith(b"\r\n\r\nhello")


def test_head_has_no_body(connect: Connect) -> None:
    client = connect()
    client.sendall(b"HEAD /say HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = until_closed(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_every_answer_names_version_and_system(connect: Connect) -> None:
    for target in (b"/say", b"/missing", b"/fail", b"/nowhere"):
        client = connect()
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = until_closed(client).lower()
        assert b"\r\napi-version: 1.50\r\n" in answer
        assert b"\r\nostype: linux\r\n" in answer


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/nowhere", 404, "page not found"),
        ("/v1.51/say", 400, "client version 1.51 is too new. Maximum supported API version is 1.50"),
        ("/v2.0/say", 400, "client version 2.0 is too new. Maximum supported API version is 1.50"),
        ("/v1.24/missing", 404, "No such thing: x"),
        ("/fail", 500, "on purpose"),
    ],
)
def test_errors_have_dockers_shape(connect: Connect, path: str, status: int, message: str) -> None:
    client = connect()
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = until_closed(client).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body) == {"message": message}


def test_old_clients_get_errors_as_plain_text(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /v1.23/missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = until_closed(client).partition(b"\r\n\r\n")
    assert b"text/plain" in head
    assert body == b"No such thing: x\n"


def test_a_version_below_our_minimum_is_refused_and_the_minimum_is_not(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /v1.9/say HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 400 " in until_closed(client)
    client = connect()
    client.sendall(b"GET /v1.10/say HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 200 " in until_closed(client)


AMBIGUOUS = {
    "both framings": encoded(
        "POST", "/echo", "Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\naaaa",
    "negative length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "signed length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\naaaa",
    "two codings": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET /say HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /say HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "space in the target": b"GET /say it HTTP/1.1\r\nHost: x\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "zero byte": b"GET /say HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_request_is_refused_and_nothing_follows(connect: Connect, request_bytes: bytes) -> None:
    client = connect()
    client.sendall(request_bytes + encoded("GET", "/say"))
    answer = until_closed(client)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_bad_chunk_ends_the_connection_without_a_second_answer(connect: Connect) -> None:
    client = connect()
    client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\naaaaXX")
    with contextlib.suppress(BrokenPipeError):
        client.sendall(encoded("GET", "/say"))
    answer = until_closed(client)
    assert b"/say" not in answer
    assert b"HTTP/1.1 200" not in answer


def test_headers_without_end_are_refused(connect: Connect) -> None:
    client = connect()
    with contextlib.suppress(ConnectionError):
        client.sendall(b"GET /say HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"a" * 1_000_000)
    assert b"200 OK" not in until_closed(client)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_json_body_is_413(connect: Connect, chunked: bool) -> None:
    client = connect()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {JSON_LIMIT + 1}"
    client.sendall(encoded("POST", "/parse", "Content-Type: application/json", framing))
    if chunked:
        with contextlib.suppress(ConnectionError):
            _send_chunks(client, b" " * (JSON_LIMIT + 1))
    assert until(client, b"}\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", b"application/json"),
        (b"{", b"application/json"),
        (b"[]", b"application/json"),
        (b"null", b"application/json"),
        (b"\xff\xfe", b"application/json"),
        (b'{"a": NaN}', b"application/json"),
        (b"{} {}", b"application/json"),
        (b'{"a":' * 100_000, b"application/json"),
        (b"{}", b"text/plain"),
        (b"{}", b"application/jsonp"),
    ],
)
def test_a_bad_json_body_is_400(connect: Connect, body: bytes, content_type: bytes) -> None:
    client = connect()
    client.sendall(encoded("POST", "/parse", f"Content-Type: {content_type.decode()}", body=body, close=True))
    answer = until_closed(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"message":"' in answer


def test_a_good_json_body_is_read(connect: Connect) -> None:
    client = connect()
    kind = "Content-Type: application/json; charset=utf-8"
    client.sendall(encoded("POST", "/parse", kind, body=b'{"a":1}', close=True))
    assert until_closed(client).endswith(b'{"a":1}\n')


def test_an_unread_body_does_not_become_the_next_request(connect: Connect) -> None:
    client = connect()
    inner = b"GET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
    client.sendall(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    client.sendall(b"GET /say HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = until_closed(client)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b" 404 " not in answer


def test_stream_headers_come_before_the_body_exists(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    head = until(client, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" in head


def test_clients_that_leave_a_wait_leave_at_most_a_few_threads(connect: Connect) -> None:
    before = client_threads()
    clients = [connect() for _ in range(KEPT_THREADS + 20)]
    for client in clients:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(client, b"\r\n\r\n")
    assert client_threads() >= KEPT_THREADS + 20
    for client in clients:
        client.close()
    assert eventually(lambda: client_threads() <= before + KEPT_THREADS)


def test_an_error_after_the_first_byte_breaks_the_answer_off(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = until_closed(client)
    assert answer.endswith(b"4\r\nhalf\r\n")
    assert b"0\r\n\r\n" not in answer


def test_an_upgrade_gives_the_socket_away_with_what_came_early(connect: Connect, routes: Routes) -> None:
    client = connect()
    client.sendall(encoded("POST", "/take", "Connection: Upgrade", "Upgrade: tcp", body=b"{}") + b"early")
    lines = until(client, b"hello").split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 UPGRADED"
    assert lines[1:4] == [
        b"Content-Type: application/vnd.docker.raw-stream",
        b"Connection: Upgrade",
        b"Upgrade: tcp",
    ]
    descriptor, early = routes.given_away[0]
    assert early == b"early"
    client.sendall(b"later")
    assert os.read(descriptor, 100) == b"later"
    assert os.get_blocking(descriptor)


def test_without_an_upgrade_header_the_answer_to_a_hijack_is_200(connect: Connect, routes: Routes) -> None:
    client = connect()
    client.sendall(b"POST /take HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = until(client, b"hello")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
    assert b"Upgrade" not in answer
    assert b"chunked" not in answer


def test_silent_clients_are_dropped_and_cost_others_nothing(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HEADER_TIMEOUT", 1.5)
    silent = [connect() for _ in range(100)]
    for client in silent:
        client.sendall(b"GET /say HTTP/1.1\r\nHo")
    client = connect()
    client.sendall(b"GET /say HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in until(client, b"}\n")
    for other in silent:
        assert b"200 OK" not in until_closed(other)


def test_stopping_ends_idle_and_waiting_connections(tmp_path: Path, routes: Routes) -> None:
    server, thread = in_background(tmp_path, routes)
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX) as waiting:
        for client in (idle, waiting):
            client.settimeout(20)
            client.connect(f"{tmp_path}/t")
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(waiting, b"\r\n\r\n")
        server.stop()
        assert until_closed(idle) == b""
        assert b"0\r\n\r\n" not in until_closed(waiting)
    thread.join(20)
    assert not thread.is_alive()
    assert not os.path.exists(f"{tmp_path}/t")


def test_stopping_breaks_off_a_client_that_never_finishes_its_body(
    tmp_path: Path, routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STOP_GRACE", 0.2)
    server, thread = in_background(tmp_path, routes)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(f"{tmp_path}/t")
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert not select.select([client], [], [], 0.3)[0]
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def _send_chunks(client: socket.socket, body: bytes) -> None:
    for start in range(0, len(body), 50_000):
        piece = body[start : start + 50_000]
        client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    client.sendall(b"0\r\n\r\n")
