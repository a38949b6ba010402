"""Attach, half-close and logs: bytes in, bytes out, through hijacked and chunked answers."""

import contextlib
import os
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from minidock.api.server import KEPT_THREADS
from tests.api.conftest import Client

STDOUT, STDERR = 1, 2


class Attached:
    """A hijacked connection."""

    def __init__(
        self, client: Client, identifier: str, query: str, upgrade: bool = True, version: str = ""
    ) -> None:
        self.socket = client.connect()
        lines = [
            f"POST {version}/containers/{identifier}/attach?{query} HTTP/1.1",
            "Host: x",
            "Content-Length: 0",
        ]
        lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = self.file.readline().decode().rstrip()
        self.headers: dict[str, str] = {}
        while (line := self.file.readline().decode().rstrip()) != "":
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, payload) until the engine closes."""
        while header := self.file.read(8):
            stream, length = struct.unpack(">BxxxL", header)
            yield stream, self.file.read(length)

    def output(self) -> dict[int, bytes]:
        """Return everything until the end, by stream."""
        return joined(self.frames())

    def end_input(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def joined(frames: Iterator[tuple[int, bytes]]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for stream, data in frames:
        found[stream] = found.get(stream, b"") + data
    return found


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the frames of a multiplexed answer."""
    while data:
        stream, length = struct.unpack(">BxxxL", data[:8])
        yield stream, data[8 : 8 + length]
        data = data[8 + length :]


ALL = "stream=1&stdin=1&stdout=1&stderr=1"
OUTPUT = "stream=1&stdout=1&stderr=1"


def test_attach_before_start_loses_nothing(containers: Client) -> None:
    token = secrets.token_hex(8)
    identifier = containers.create("sh", "-c", f"echo {token}; echo e-{token} >&2")
    with contextlib.closing(Attached(containers, identifier, OUTPUT)) as attached:
        assert attached.status == "HTTP/1.1 101 UPGRADED"
        assert attached.headers["content-type"] in (
            "application/vnd.docker.multiplexed-stream",
            "application/vnd.docker.raw-stream",  # dockerd below API 1.42
        )
        attached.end_input()
        containers.start(identifier)
        assert attached.output() == {STDOUT: f"{token}\n".encode(), STDERR: f"e-{token}\n".encode()}


def test_no_start_slips_in_between_the_answer_and_the_attachment(containers: Client, rounds: int) -> None:
    for _ in range(3 * rounds):
        identifier = containers.create("echo", "heard", host={"AutoRemove": True})
        with contextlib.closing(Attached(containers, identifier, OUTPUT)) as attached:
            containers.start(identifier)
            assert attached.output() == {STDOUT: b"heard\n"}


def test_without_an_upgrade_header_attach_answers_200(containers: Client) -> None:
    identifier = containers.create("echo", "old")
    with contextlib.closing(Attached(containers, identifier, OUTPUT, upgrade=False)) as attached:
        assert attached.status == "HTTP/1.1 200 OK"
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"
        containers.start(identifier)
        assert attached.output() == {STDOUT: b"old\n"}


def test_below_1_42_the_type_is_always_raw(containers: Client) -> None:
    identifier = containers.create("true")
    with contextlib.closing(Attached(containers, identifier, OUTPUT, version="/v1.41")) as attached:
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"


def test_half_close_ends_the_containers_input(containers: Client) -> None:
    token = secrets.token_hex(8)
    identifier = containers.create("cat", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    with contextlib.closing(Attached(containers, identifier, ALL)) as attached:
        attached.socket.sendall(f"early {token}\n".encode())
        containers.start(identifier)
        attached.socket.sendall(f"late {token}\n".encode())
        attached.end_input()
        assert attached.output() == {STDOUT: f"early {token}\nlate {token}\n".encode()}
    assert containers.post(f"/containers/{identifier}/wait").json["StatusCode"] == 0


def test_eight_mebibytes_pass_byte_for_byte(containers: Client) -> None:
    data = os.urandom(8 * 1024 * 1024)
    identifier = containers.create("cat", OpenStdin=True, StdinOnce=True)
    with contextlib.closing(Attached(containers, identifier, ALL)) as attached:
        containers.start(identifier)

        def send() -> None:
            attached.socket.sendall(data)
            attached.end_input()

        sender = threading.Thread(target=send)
        sender.start()
        assert attached.output() == {STDOUT: data}
        sender.join()


def test_a_terminal_is_raw_and_has_the_size_it_was_given(containers: Client) -> None:
    identifier = containers.create(
        "sh", "-c", "until stty size 2>/dev/null | grep '31 97'; do sleep 0.05; done", Tty=True
    )
    with contextlib.closing(Attached(containers, identifier, OUTPUT)) as attached:
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"
        containers.start(identifier)
        assert containers.post(f"/containers/{identifier}/resize?h=31&w=97").status == 200
        assert attached.file.read() == b"31 97\r\n"


def test_control_c_reaches_the_program_as_a_signal(containers: Client) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while true; do sleep 0.05; done"
    identifier = containers.create("sh", "-c", script, Tty=True, OpenStdin=True)
    with contextlib.closing(Attached(containers, identifier, ALL)) as attached:
        containers.start(identifier)
        assert attached.file.readline() == b"ready\r\n"
        attached.socket.sendall(b"\x03")
        assert b"caught" in attached.file.read()
    assert containers.post(f"/containers/{identifier}/wait").json["StatusCode"] == 5


def test_the_detach_keys_end_the_session_and_not_the_container(containers: Client) -> None:
    identifier = containers.create("cat", Tty=True, OpenStdin=True)
    with contextlib.closing(Attached(containers, identifier, ALL + "&detachKeys=ctrl-a%2Cx")) as attached:
        containers.start(identifier)
        attached.socket.sendall(b"\x01x")
        attached.file.read()
    assert containers.inspect(identifier)["State"]["Running"]


def test_bad_detach_keys_are_400(containers: Client) -> None:
    identifier = containers.create("cat", Tty=True)
    answer = containers.post(f"/containers/{identifier}/attach?{ALL}&detachKeys=ctrl-wings")
    assert answer.status == 400


def test_only_the_streams_asked_for_arrive(containers: Client) -> None:
    identifier = containers.create("sh", "-c", "echo out; echo err >&2")
    with contextlib.closing(Attached(containers, identifier, "stream=1&stderr=1")) as attached:
        containers.start(identifier)
        assert attached.output() == {STDERR: b"err\n"}


def test_attach_with_logs_repeats_what_was_said(containers: Client) -> None:
    identifier, _ = containers.run("sh", "-c", "echo before; echo err >&2")
    with contextlib.closing(Attached(containers, identifier, "logs=1&stdout=1&stderr=1")) as attached:
        assert attached.output() == {STDOUT: b"before\n", STDERR: b"err\n"}


@pytest.mark.only_minidock  # dockerd sends both at once
def test_the_stream_begins_when_the_client_has_read_the_head(containers: Client) -> None:
    """docker-py reads the head through a buffer that it then forgets."""
    identifier, _ = containers.run("echo", "said")
    with containers.connect() as connection:
        request = f"POST /containers/{identifier}/attach?logs=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(request.encode())
        head = connection.recv(65536, socket.MSG_PEEK)
        time.sleep(0.01)  # if the stream were on its way, it would be there now
        assert connection.recv(65536) == head
        assert head.endswith(b"\r\n\r\n")
        assert connection.recv(65536)[8:] == b"said\n"


def test_many_clients_hear_the_same(containers: Client) -> None:
    identifier = containers.create("seq", "1000")
    with contextlib.ExitStack() as stack:
        attached = [
            stack.enter_context(contextlib.closing(Attached(containers, identifier, OUTPUT)))
            for _ in range(5)
        ]
        containers.start(identifier)
        expected = b"".join(b"%d\n" % number for number in range(1, 1001))
        assert [one.output() for one in attached] == [{STDOUT: expected}] * 5


def test_logs_have_both_streams_in_frames(containers: Client) -> None:
    identifier, _ = containers.run("sh", "-c", "echo out; echo err >&2")
    answer = containers.get(f"/containers/{identifier}/logs?stdout=1&stderr=1")
    assert answer.status == 200
    assert joined(split(answer.body)) == {STDOUT: b"out\n", STDERR: b"err\n"}
    answer = containers.get(f"/containers/{identifier}/logs?stderr=1")
    assert joined(split(answer.body)) == {STDERR: b"err\n"}


def test_logs_of_a_terminal_are_raw(containers: Client) -> None:
    identifier, _ = containers.run("echo", "hi", Tty=True)
    answer = containers.get(f"/containers/{identifier}/logs?stdout=1")
    assert answer.headers.get("content-type") in (
        "application/vnd.docker.raw-stream",
        None,
    )  # None: dockerd 20.10
    assert answer.body == b"hi\r\n"


def test_logs_without_a_stream_are_400(containers: Client) -> None:
    identifier = containers.create("true")
    answer = containers.get(f"/containers/{identifier}/logs")
    assert answer.status == 400
    assert answer.message == "Bad parameters: you must choose at least one stream"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("tail=all", range(1, 11)),
        ("tail=3", range(8, 11)),
        ("tail=0", range(0)),
        ("tail=-5", range(1, 11)),
        ("since=1", range(1, 11)),
        ("since=4102444800", range(0)),
        ("until=1", range(0)),
    ],
)
def test_the_choice_of_lines(containers: Client, query: str, numbers: range) -> None:
    identifier, _ = containers.run("seq", "10")
    body = containers.get(f"/containers/{identifier}/logs?stdout=1&{query}").body
    assert joined(split(body)).get(STDOUT, b"") == b"".join(b"%d\n" % number for number in numbers)


def test_times_have_nine_digits(containers: Client) -> None:
    identifier, _ = containers.run("echo", "now")
    body = containers.get(f"/containers/{identifier}/logs?stdout=1&timestamps=1").body
    line = joined(split(body))[STDOUT]
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z now\n", line)


def test_followed_logs_arrive_as_they_are_written_and_end_with_the_container(containers: Client) -> None:
    identifier = containers.create("cat", OpenStdin=True, StdinOnce=True)
    with contextlib.closing(Attached(containers, identifier, "stream=1&stdin=1")) as attached:
        containers.start(identifier)
        response = containers.begin("GET", f"/containers/{identifier}/logs?stdout=1&follow=1")
        assert response.status == 200
        attached.socket.sendall(b"first\n")
        assert response.read(8 + 6)[8:] == b"first\n"
        attached.socket.sendall(b"last\n")
        attached.end_input()
        assert joined(split(response.read())) == {STDOUT: b"last\n"}
        response.close()


def test_logs_that_end_without_a_newline(containers: Client) -> None:
    identifier, _ = containers.run("sh", "-c", "printf 'a\\nb'")
    body = containers.get(f"/containers/{identifier}/logs?stdout=1").body
    assert joined(split(body)) == {STDOUT: b"a\nb"}


@pytest.mark.only_minidock  # it counts the threads of our own daemon
def test_leaving_a_followed_log_ends_its_thread(containers: Client, request: Any) -> None:
    pid = request.getfixturevalue("daemon").process.pid
    identifier = containers.create("sleep", "100")
    containers.start(identifier)
    before = threads_of(pid)
    responses = [
        containers.begin("GET", f"/containers/{identifier}/logs?stdout=1&follow=1") for _ in range(10)
    ]
    responses += [containers.begin("POST", f"/containers/{identifier}/wait") for _ in range(10)]
    responses += [containers.begin("GET", "/events") for _ in range(10)]
    assert threads_of(pid) >= 30
    for response in responses:
        response.close()
    deadline = time.monotonic() + 30
    while threads_of(pid) > before + KEPT_THREADS and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads_of(pid) <= before + KEPT_THREADS


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.only_minidock  # dockerd sends some lines twice
def test_who_attaches_with_logs_before_the_start_misses_nothing(containers: Client, rounds: int) -> None:
    for _ in range(rounds):
        identifier = containers.create("echo", "hi")
        with contextlib.closing(Attached(containers, identifier, "logs=1&stream=1&stdout=1")) as attached:
            containers.start(identifier)
            assert attached.output() == {1: b"hi\n"}


@pytest.mark.only_minidock  # dockerd repeats lines here
def test_attach_with_logs_neither_loses_nor_repeats_a_line(containers: Client, rounds: int) -> None:
    """The program writes without a pause, so a seam between log and stream would show."""
    log = {"LogConfig": {"Type": "json-file", "Config": {"max-size": "200k", "max-file": "2"}}}
    identifier = containers.create("seq", "1", "1000000000", host=log)
    containers.start(identifier)
    for _ in range(rounds):
        with contextlib.closing(
            Attached(containers, identifier, "logs=1&stream=1&stdout=1&stderr=1")
        ) as attached:
            data = bytearray()
            for _, piece in attached.frames():
                data += piece
                if len(data) > 600_000:
                    break
        numbers = [int(line) for line in data.split(b"\n")[:-1]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    containers.post(f"/containers/{identifier}/kill")


@pytest.mark.only_minidock  # dockerd keeps such a line back
def test_attach_with_logs_shows_a_line_that_has_no_end_yet(containers: Client) -> None:
    identifier = containers.create("sh", "-c", "echo one; printf tw; read x; echo o", OpenStdin=True)
    containers.start(identifier)
    time.sleep(0.3)
    query = "logs=1&stream=1&stdin=1&stdout=1"
    with contextlib.closing(Attached(containers, identifier, query)) as attached:
        seen = b""
        for _, piece in attached.frames():
            seen += piece
            if seen == b"one\ntw":
                attached.socket.sendall(b"\n")
        assert seen == b"one\ntwo\n"
