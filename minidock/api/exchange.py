"""One request and the answer to it, as the route functions see them.

A route function returns a `Reply`, or answers through `stream` or `hijack` and returns None. Whatever it
raises becomes an error reply, as long as nothing has been sent; afterwards only breaking the connection
tells the client the truth.
"""

import contextlib
import io
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from minidock.api import relaying, websocket
from minidock.api.connection import Connection, Head, standard_headers
from minidock.api.query import Query
from minidock.errors import InvalidParameter, MinidockError

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
JSON_LIMIT = 4 * 1024 * 1024
JSON_TIMEOUT = 30.0

ApiVersion = tuple[int, int]


class TooLarge(MinidockError):
    """A JSON body is larger than any honest client sends (HTTP 413)."""


@dataclass(frozen=True)
class Reply:
    """A whole answer; `body` is sent as it is."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: Any, status: int = 200) -> Reply:
    """Answer with JSON-ready data (see `wire.to_wire` for structs)."""
    return Reply(status, msgspec.json.encode(value) + b"\n", JSON)


def no_content(status: int = 204) -> Reply:
    """Answer with a status alone."""
    return Reply(status)


class BodyReader(io.RawIOBase):
    """The request's body as a file: read once, front to back, never held in memory as a whole."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pending = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Say that this file can be read, for BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the next piece reaches; 0 at the end."""
        if not self._pending and not self._ended:
            piece = self._connection.read_body()
            self._ended = not piece
            self._pending = memoryview(piece)
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count


class Stream:
    """An answer whose body is sent piece by piece; every write reaches the client at once."""

    def __init__(self, connection: Connection, has_body: bool) -> None:
        self._connection = connection
        self._has_body = has_body

    def write(self, data: bytes) -> None:
        """Send one piece; ConnectionError when the client is gone."""
        if data and self._has_body:
            self._connection.send_body(data)

    def write_json(self, value: Any) -> None:
        """Send one JSON message of a progress or event stream."""
        self.write(msgspec.json.encode(value) + b"\r\n")


class Exchange:
    """One request, and the one answer that it gets."""

    def __init__(
        self, connection: Connection, head: Head, version: ApiVersion, path: str, query: Query
    ) -> None:
        self.head = head
        self.version = version
        self.path = path
        self.query = query
        self.answered = False
        self.hijacked = False
        self._connection = connection
        self._common: tuple[tuple[str, str], ...] = ()

    def add_common_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send `headers` with whatever answer follows."""
        self._common += tuple(headers)

    def body(self) -> io.BufferedReader:
        """Return the request's body as a file, streamed from the client."""
        return io.BufferedReader(BodyReader(self._connection), 1 << 17)

    def has_body(self) -> bool:
        """Say whether the request announces a body of at least one byte (a chunked one may prove empty)."""
        headers = self.head.headers
        return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""

    def json(self, required: bool = True) -> dict[str, Any]:
        """Return the request's JSON object; {} when there is no body and none is `required`.

        InvalidParameter for another content type (a web page can send text/plain anywhere, security.md D4),
        for anything but one JSON object; TooLarge above 4 MiB.
        """
        data = self._read_small_body() if self.has_body() else b""
        if not data.strip():
            if required:
                raise InvalidParameter("invalid JSON: got EOF while reading request body")
            return {}
        content_type = self.head.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != JSON:
            raise InvalidParameter(f"unsupported Content-Type header ({content_type}): must be '{JSON}'")
        try:
            document = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidParameter(f"invalid JSON: {error}") from None
        except RecursionError:
            raise InvalidParameter("invalid JSON: nested too deeply") from None
        if document is None and not required:
            return {}
        if not isinstance(document, dict):
            raise InvalidParameter("invalid JSON: the request body must be an object")
        return document

    def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        self.answered = True
        length = None if reply.status in (204, 304) else len(reply.body)
        headers = [*standard_headers(reply.content_type, length), *self._common, *reply.headers]
        body = b"" if self.head.method == "HEAD" else reply.body
        self._connection.send_all(reply.status, _reason(reply.status), headers, body)

    @contextlib.contextmanager
    def stream(
        self, content_type: str | None, status: int = 200, headers: Iterable[tuple[str, str]] = ()
    ) -> Iterator[Stream]:
        """Send status and headers now, and give the body's writer; leaving the block normally ends the body.

        An exception leaves the body unended on purpose: the client sees a broken answer, not a short one.
        """
        self.answered = True
        common = [*standard_headers(content_type, None), *self._common, *headers]
        self._connection.send_head(status, _reason(status), common)
        yield Stream(self._connection, self.head.method != "HEAD")
        self._connection.end()

    def hijack(self, content_type: str) -> tuple[int, bytes]:
        """Leave HTTP: send 101 (or 200 to a client that did not ask for an upgrade) and give the socket away.

        Returns its descriptor, now the caller's to close, and the bytes that the client sent after its
        request. The header block is spelled as Docker's: old clients look for these very lines.
        """
        kind = f"Content-Type: {content_type}"
        if self.head.wants_upgrade:
            return self._leave("101 UPGRADED", [kind, "Connection: Upgrade", "Upgrade: tcp"])
        return self._leave("200 OK", [kind])

    def hijack_as_websocket(self) -> tuple[int, bytes]:
        """Leave HTTP for a websocket, and give a plain socket for what is in its frames, as `hijack` does."""
        return self._leave("101 Switching Protocols", websocket.accept(self.head), websocket.Frames())

    def _leave(self, status: str, lines: list[str], codec: relaying.Codec | None = None) -> tuple[int, bytes]:
        common = [f"{name}: {value}" for name, value in self._common]
        self.answered = self.hijacked = True
        answer = "\r\n".join([f"HTTP/1.1 {status}", *lines, *common]) + "\r\n\r\n"
        return self._connection.hijack(answer.encode("latin-1"), codec)

    def watch(self, *descriptors: int, timeout: float | None = None) -> set[int]:
        """Wait for descriptors; ConnectionAbortedError when the client leaves or the daemon stops."""
        return self._connection.watch(descriptors, timeout)

    def _read_small_body(self) -> bytes:
        deadline = time.monotonic() + JSON_TIMEOUT
        length = self.head.headers.get("content-length", "")
        if length.isdecimal() and int(length) > JSON_LIMIT:
            raise TooLarge(f"request body too large: {length} bytes, the limit for JSON is {JSON_LIMIT}")
        pieces: list[bytes] = []
        size = 0
        while piece := self._connection.read_body(deadline):
            size += len(piece)
            if size > JSON_LIMIT:
                raise TooLarge(f"request body too large: the limit for JSON is {JSON_LIMIT} bytes")
            pieces.append(piece)
        return b"".join(pieces)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
