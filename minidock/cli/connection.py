"""HTTP/1.1 over one socket, as much as the Engine API needs: lengths, chunks, the upgrade that ends HTTP.

Written out because start-up is what a command line is judged by: `http.client` and `email` cost more time to
import than a whole `docker ps` takes, and even `socket` is a fifth of it, hence `_socket`, which `socket`
merely wraps. RFC 9112; Docker's hijacking is described in its API under "Attach to a container".
"""

from __future__ import annotations

import _socket

from minidock.cli.failure import CannotConnect, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from minidock.cli.endpoint import Files
    from minidock.cli.tls import TlsSocket

BUFFER_SIZE = 65536
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Connection:
    """A socket to the engine and what has been received but not used; one request at a time."""

    def __init__(self, host: str, files: Files | None = None) -> None:
        """Connect to `unix://PATH` or `tcp://ADDRESS[:PORT]`; raise CannotConnect when nobody listens.

        Over TCP, `files` are those for TLS.
        """
        self.name, self.socket = _connect(host, files)
        self._is_encrypted = files is not None
        self.buffer = b""

    def close(self) -> None:
        self.socket.close()

    def failure(self, error: OSError) -> Failure:
        """Return what to say when the first request has failed; with TLS 1.3 a refusal comes that late."""
        return _failure(self.name, error, self._is_encrypted)

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | BinaryIO | None = None
    ) -> Response:
        """Send a request and return its response when the head has arrived; a file is sent in chunks."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.name}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        elif body is not None:
            lines.append("Transfer-Encoding: chunked")
        elif method in ("POST", "PUT"):
            lines.append("Content-Length: 0")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            self.socket.sendall(head + body if isinstance(body, bytes) else head)
            if body is not None and not isinstance(body, bytes):
                while block := body.read(BUFFER_SIZE):
                    self.socket.sendall(b"%x\r\n%b\r\n" % (len(block), block))
                self.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # an engine that refuses a long body answers early and closes: what it said matters more
        return Response(self, method)

    def receive(self) -> bytes:
        """Return what is buffered or arrives next; b"" when the engine has closed."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.socket.recv(BUFFER_SIZE)

    def read_line(self) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            data = self.socket.recv(BUFFER_SIZE)
            if not data:
                raise Failure("unexpected EOF")
            self.buffer += data
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        return line.rstrip(b"\r")


class Response:
    """Status and headers of an answer; the body is still on its way."""

    def __init__(self, connection: Connection, method: str) -> None:
        self.connection = connection
        status_line = connection.read_line().split(None, 2)
        if len(status_line) < 2 or not status_line[0].startswith(b"HTTP/1."):
            raise Failure("the engine does not speak HTTP")
        self.status = int(status_line[1])
        self.reason = status_line[2].decode() if len(status_line) > 2 else ""
        self.headers: dict[str, str] = {}
        while line := connection.read_line():
            name, _, value = line.partition(b":")
            self.headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        self.has_body = method != "HEAD" and self.status not in (101, 204, 304)

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        if not self.has_body:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._exactly(int(self.headers["content-length"]))
        else:
            while block := self.connection.receive():
                yield block

    def lines(self) -> Iterator[bytes]:
        """Yield the body line by line, each as soon as it is complete."""
        rest = b""
        for block in self.blocks():
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        if rest.strip():
            yield rest

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.connection.receive()
            if not block:
                raise Failure("unexpected EOF")
            if len(block) > size:
                self.connection.buffer = block[size:]
                block = block[:size]
            size -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.connection.read_line().split(b";")[0], 16):
            yield from self._exactly(size)
            self.connection.read_line()
        while self.connection.read_line():
            pass


def quote(text: str, safe: bytes = b"") -> str:
    """Percent-encode `text` for a URL; bytes in `safe` stay."""
    return "".join(
        chr(byte)
        if byte in _UNRESERVED or byte in safe
        else "+"
        if byte == 32 and not safe
        else f"%{byte:02X}"
        for byte in text.encode()
    )


def _connect(host: str, files: Files | None) -> tuple[str, _socket.socket | TlsSocket]:
    """Return what the engine is called in HTTP's `Host`, and a socket to it."""
    scheme, _, address = host.partition("://")
    name, family, endpoint = _endpoint(scheme, address, host)
    sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(endpoint)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise CannotConnect(host) from None
    except PermissionError as error:
        sock.close()
        raise Failure(f"permission denied while trying to connect to the engine at {host}: {error}") from None
    except OSError as error:
        sock.close()
        raise Failure(f"error during connect: {host}: {error.strerror or error}") from None
    if files is None or family == _socket.AF_UNIX:
        return name, sock
    from minidock.cli.tls import TlsSocket

    try:
        return name, TlsSocket(sock, name.rpartition(":")[0].strip("[]"), files)
    except OSError as error:
        raise _failure(name, error, encrypted=True) from None


def _endpoint(scheme: str, address: str, host: str) -> tuple[str, int, str | tuple[str, int]]:
    if scheme == "unix" and address:
        return "minidock", _socket.AF_UNIX, address
    if scheme not in ("tcp", "http") or not address:
        raise _invalid(host)
    name, _, port = address.rstrip("/").rpartition(":")
    if not name or "]" in port:
        name, port = address.rstrip("/"), "2375"
    if not port.isdecimal():
        raise _invalid(host)
    try:
        found = _socket.getaddrinfo(name.strip("[]"), int(port), 0, _socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(f"error during connect: {host}: {error.strerror or error}") from None
    address_family, *_, (ip, number, *_) = found[0]
    return f"{name}:{port}", address_family, (str(ip), int(number))


def _failure(name: str, error: OSError, encrypted: bool) -> Failure:
    words = error.strerror or str(error)
    if encrypted:
        from minidock.cli.tls import problem

        words = problem(error)
    return Failure(f'error during connect: Head "http{"s" if encrypted else ""}://{name}/_ping": {words}')


def _invalid(host: str) -> Failure:
    return Failure(
        f"Failed to initialize: unable to resolve docker endpoint: invalid bind address format: {host}"
    )
