"""One client's connection: bytes on a blocking socket, turned into requests and answers by h11.

A thread of the server blocks here and nowhere else, always in poll(2) on the client *and* on the stop
descriptor, so that a client that leaves or a daemon that stops ends the thread. Framing that two parsers
could read in two ways is refused (RFC 9112 section 6.3): it is how one request is smuggled inside another.
"""

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate

import h11

from minidock.api import relaying
from minidock.errors import InvalidParameter

HEADER_TIMEOUT = 30.0
IDLE_TIMEOUT = 300.0
LONGEST_WAIT = 86400.0
SEND_TIMEOUT = 300
HEAD_PATIENCE, HEAD_PAUSE = 0.25, 0.0001
HEADER_LIMIT = 64 * 1024
RECEIVE_SIZE = 128 * 1024
LEFTOVER_LIMIT = 256 * 1024

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Head:
    """The request line and headers of one request; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def wants_upgrade(self) -> bool:
        return "upgrade" in self.headers.get("connection", "").lower() and "upgrade" in self.headers


class Connection:
    """One accepted socket: `read_head`, then `read_body` until b"", then an answer; again, or closed.

    Raises ConnectionError when the client is gone, TimeoutError when it is too slow,
    h11.RemoteProtocolError when it does not speak HTTP, InvalidParameter when its framing is ambiguous.
    """

    def __init__(self, client: socket.socket, stop_descriptor: int) -> None:
        self.client = client
        self._stop_descriptor = stop_descriptor
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)
        self._poll.register(stop_descriptor, select.POLLIN)
        self._served = 0
        self.is_relayed = False  # the client's socket belongs to a relay now
        self.is_remote = client.family != socket.AF_UNIX
        self.is_verified = (
            isinstance(client, ssl.SSLSocket) and client.context.verify_mode == ssl.CERT_REQUIRED
        )
        # SO_SNDTIMEO and not settimeout(): the latter would make the socket non-blocking for the shim it
        # may go to.
        limit_sends(client, SEND_TIMEOUT)

    def read_head(self) -> Head | None:
        """Wait for the next request; None when the client closed or the server stops between requests."""
        deadline = time.monotonic() + (IDLE_TIMEOUT if self._served else HEADER_TIMEOUT)
        has_begun = False
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if not has_begun:
                    if not self._http.trailing_data[0] and not self._wait_idle(deadline):
                        return None
                    has_begun = True
                    deadline = time.monotonic() + HEADER_TIMEOUT
                self._receive(deadline)
            elif isinstance(event, h11.Request):
                self._served += 1
                return _head(event)
            else:
                return None

    def read_body(self, deadline: float | None = None) -> bytes:
        """Return the next piece of the request's body, b"" at its end."""
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._receive(deadline)
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                return b""
            else:
                raise ConnectionAbortedError("the client left in the middle of its request")

    def send_head(self, status: int, reason: str, headers: Headers) -> None:
        """Send the status line and headers now; the body follows in `send_body` and `end`."""
        self._send(_response(status, reason, headers))

    def send_all(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        """Send a whole answer in one write."""
        events: list[h11.Event] = [_response(status, reason, headers)]
        if body:
            events.append(h11.Data(data=body))
        self._send(*events, h11.EndOfMessage())

    def send_body(self, data: bytes) -> None:
        """Send one piece of the body (one chunk in a chunked answer)."""
        self._send(h11.Data(data=data))

    def end(self) -> None:
        """End the body."""
        self._send(h11.EndOfMessage())

    def next_cycle(self) -> bool:
        """Make ready for the next request; False when the connection must close instead.

        What is left of an unread body is read if it is small; otherwise closing is cheaper than reading it.
        """
        if self._http.our_state is not h11.DONE:
            return False
        try:
            self._skip_body()
        except (OSError, h11.RemoteProtocolError):
            return False
        if self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def hijack(self, answer: bytes, codec: relaying.Codec | None = None) -> tuple[int, bytes]:
        """Send `answer` as it is and give the socket away, with the bytes the client sent too early.

        The caller owns the returned descriptor, whose stream is plain whatever form `codec` gives it on the
        client's side; the connection is over for this process. An unread body is read first, for what the
        parser holds of it is not part of the stream.
        """
        self._skip_body()
        early = bytes(self._http.trailing_data[0])
        limit_sends(self.client, 0)
        self.client.sendall(answer)
        if codec is not None or isinstance(self.client, ssl.SSLSocket):
            self.is_relayed = True
            return relaying.relay(self.client, codec, early), b""
        if not self.is_remote:
            _wait_until_read(self.client)
        return self.client.detach(), early

    def watch(self, descriptors: Iterable[int], timeout: float | None = None) -> set[int]:
        """Wait until some of `descriptors` are readable and return those; empty after `timeout` seconds,
        or sooner: poll(2) counts milliseconds in 31 bits.

        ConnectionAbortedError when the client leaves or the server stops. A client that closed its sending
        half counts as gone, as in Docker: nobody half-closes a plain request.
        """
        milliseconds = None if timeout is None else min(max(0, timeout), LONGEST_WAIT) * 1000
        poll = select.poll()
        poll.register(self.client, select.POLLRDHUP)
        poll.register(self._stop_descriptor, select.POLLIN)
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(milliseconds)}
        if self.client.fileno() in ready:
            raise ConnectionAbortedError("the client left")
        if self._stop_descriptor in ready:
            raise ConnectionAbortedError("the daemon is stopping")
        return ready

    def _wait_idle(self, deadline: float) -> bool:
        """Wait for the first byte of a request; False when there will be none."""
        timeout = max(0.0, deadline - time.monotonic())
        ready = {descriptor for descriptor, _ in self._poll.poll(timeout * 1000)}
        return bool(ready) and self._stop_descriptor not in ready

    def _receive(self, deadline: float | None) -> None:
        if deadline is not None:
            poll = select.poll()
            poll.register(self.client, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError("the client is too slow")
        self._http.receive_data(self.client.recv(RECEIVE_SIZE))

    def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data:
            self.client.sendall(data)

    def _skip_body(self) -> None:
        deadline = time.monotonic() + 1.0
        skipped = 0
        while self._http.their_state is h11.SEND_BODY and skipped <= LEFTOVER_LIMIT:
            if self._http.they_are_waiting_for_100_continue:
                return
            skipped += len(self.read_body(deadline))


def _wait_until_read(client: socket.socket) -> None:
    """Wait until the client has read all that was sent to it, or for `HEAD_PATIENCE`.

    docker-py reads the head of an answer through a buffer and the stream after it from the bare socket: bytes
    of the stream that arrive together with the head are lost to it. Only a UNIX socket can tell what its
    other end has read (unix(7), SIOCOUTQ).
    """
    deadline = time.monotonic() + HEAD_PATIENCE
    while time.monotonic() < deadline:
        (unread,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
        if not unread:
            return
        time.sleep(HEAD_PAUSE)


def standard_headers(content_type: str | None, length: int | None) -> list[tuple[str, str]]:
    """Return Date and the headers that describe a body; `length` None means that it is streamed."""
    headers = [("Date", formatdate(usegmt=True))]
    if content_type:
        headers.append(("Content-Type", content_type))
    if length is not None:
        headers.append(("Content-Length", str(length)))
    return headers


def stop_descriptor() -> int:
    """Return an eventfd that becomes readable for every poller at once when 1 is written to it."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def _response(status: int, reason: str, headers: Headers) -> h11.Response:
    encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
    return h11.Response(status_code=status, reason=reason.encode(), headers=encoded)


def _head(event: h11.Request) -> Head:
    headers: dict[str, str] = {}
    for name, value in event.headers:
        text = value.decode("latin-1")
        key = name.decode("ascii")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    if "transfer-encoding" in headers and ("content-length" in headers or event.http_version != b"1.1"):
        raise InvalidParameter("ambiguous request: Transfer-Encoding with Content-Length or before HTTP/1.1")
    return Head(event.method.decode("ascii"), event.target.decode("ascii", "surrogateescape"), headers)


def limit_sends(client: socket.socket, seconds: int) -> None:
    """Let a send fail with BlockingIOError after `seconds` without progress (0: never); SO_SNDTIMEO."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))
