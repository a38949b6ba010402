"""An attached container: its streams on our descriptors, our signals sent to it, until it ends or we detach.

One loop on poll(2). Nothing in it may block on the connection: `cat` in a container stops reading when nobody
takes what it writes, so waiting to send while not receiving would be a deadlock.
"""

from __future__ import annotations

import _socket
import os
import select
import signal

from minidock.cli.failure import Failure
from minidock.cli.streams import Demultiplexer, write_all
from minidock.cli.terminal import DetachKeys, raw_mode, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.client import Client
    from minidock.cli.connection import Connection
    from minidock.cli.tls import TlsSocket

BLOCK_SIZE = 65536
PATIENCE = 3  # this many ctrl-c without an end, and we leave
# what the kernel sends for our own faults and children is not meant for the container
NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGSEGV,
    signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTTIN, signal.SIGTTOU,
}  # fmt: skip


class Session:
    """One attachment. `stdin` False closes the container's side at once, as docker does."""

    def __init__(
        self,
        client: Client,
        container: str,
        *,
        tty: bool,
        stdin: bool,
        detach_keys: bytes,
        forward: bool = True,
        place: str = "containers",
    ) -> None:
        """`place` is where in the API `container` is: an exec is attached in the same way."""
        self.client, self._path = client, f"/{place}/{container}"
        self.tty, self.stdin = tty, stdin
        self.forward = forward
        self._keys = DetachKeys(detach_keys) if tty and stdin else None
        self._demultiplexer = None if tty else Demultiplexer()
        self._interrupts = 0
        self._unsent = b""
        self._stdin_open = stdin
        self._signals, self._wake_up = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._catch_signals()

    def run(self, connection: Connection) -> bool:
        """Copy until the engine closes the connection (True) or the detach keys are typed (False)."""
        if not self.tty or not self.stdin:
            return self._copy(connection)
        with raw_mode(0):
            return self._copy(connection)

    def resize(self) -> None:
        """Tell the container the size of our terminal."""
        rows, columns = window_size(1)
        if rows and columns:
            self._tell("resize", {"h": rows, "w": columns})

    def _copy(self, connection: Connection) -> bool:
        sock = connection.socket
        if not self.stdin:
            _shut_down(sock)
        if connection.buffer:
            self._write(connection.receive())
        sock.setblocking(False)
        while True:
            events = self._wait(sock.fileno())
            if self._signals in events:
                self._deliver_signals()
            if sock.fileno() in events:
                if events[sock.fileno()] & select.POLLOUT:
                    self._send(sock)
                if events[sock.fileno()] & ~select.POLLOUT and not self._receive(sock):
                    return True
            if 0 in events and not self._read_stdin(sock):
                return False

    def _wait(self, socket_descriptor: int) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(socket_descriptor, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if self._stdin_open and not self._unsent:
            poll.register(0, select.POLLIN)
        return dict(poll.poll())

    def _receive(self, sock: _socket.socket | TlsSocket) -> bool:
        try:
            data = sock.recv(BLOCK_SIZE)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._write(data)
        return bool(data)

    def _write(self, data: bytes) -> None:
        if self._demultiplexer is None:
            write_all(1, data)
            return
        for stream, part in self._demultiplexer.feed(data):
            write_all(2 if stream == 2 else 1, part)

    def _read_stdin(self, sock: _socket.socket | TlsSocket) -> bool:
        try:
            data = os.read(0, BLOCK_SIZE)
        except OSError:
            data = b""
        if not data:
            self._stdin_open = False
            _shut_down(sock)
            return True
        detached = False
        if self._keys:
            data, detached = self._keys.feed(data)
        self._unsent += data
        self._send(sock)
        return not detached

    def _send(self, sock: _socket.socket | TlsSocket) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent, self._stdin_open = b"", False  # its stdin is closed; what it still writes counts

    def _catch_signals(self) -> None:
        for number in signal.valid_signals() - NOT_FORWARDED if self.forward else {signal.SIGWINCH}:
            try:
                signal.signal(number, lambda *_: None)
            except OSError:
                continue  # two real-time signals belong to the C library
        signal.set_wakeup_fd(self._wake_up, warn_on_full_buffer=False)

    def _deliver_signals(self) -> None:
        for number in os.read(self._signals, 256):
            if number == signal.SIGWINCH and self.tty:
                self.resize()
                continue
            if not self.forward:
                continue
            self._interrupts += number in (signal.SIGINT, signal.SIGTERM)
            if self._interrupts > PATIENCE:
                raise Failure(f"got {PATIENCE} SIGTERM/SIGINTs, forcefully exiting")
            try:
                name = signal.Signals(number).name.removeprefix("SIG")
            except ValueError:
                name = str(number)
            self._tell("kill", {"signal": name})

    def _tell(self, action: str, query: dict[str, str | int | bool | list[str] | None]) -> None:
        """Post something that may come too early or too late to matter."""
        try:
            self.client.call("POST", f"{self._path}/{action}", query)
        except Failure:
            pass


def _shut_down(sock: _socket.socket | TlsSocket) -> None:
    try:
        sock.shutdown(_socket.SHUT_WR)
    except OSError:
        pass  # the engine was quicker
