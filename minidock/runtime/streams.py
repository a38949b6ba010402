"""The container's output to its log and clients, a client's input to the container, without blocking on
anyone.

A reader that stops reading must not lose bytes nor cost memory: above 1 MiB unsent, the container's output is
no longer read, so that the program blocks in write(2), as it would on a pipe. Docker Engine API, "Stream
format": 8-byte header `>BxxxL` (1 stdout, 2 stderr) before each chunk where there is no terminal.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable

from minidock.runtime.loop import HANGUP, READ, WRITE, Loop
from minidock.runtime.requests import AttachClient

STDIN, STDOUT, STDERR = 0, 1, 2
CHUNK = 64 * 1024
HIGH_WATER = 1024 * 1024
_HEADER = struct.Struct(">BxxxL")


class Input:
    """The writing end of the container's stdin. `close_once`: the first client's end of input closes it for
    good.
    """

    def __init__(self, loop: Loop, descriptor: int, close_once: bool, drained: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self.close_once = close_once
        self._loop = loop
        self._drained = drained
        self._pending = bytearray()
        self._closing = False
        os.set_blocking(descriptor, False)

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= HIGH_WATER

    def write(self, data: bytes) -> None:
        """Queue `data` for the program; dropped when the program has closed its stdin."""
        if self.descriptor >= 0:
            self._pending += data
            self._flush()

    def finish(self) -> None:
        """Close once everything queued is written."""
        self._closing = True
        if self.descriptor >= 0:
            self._flush()

    def close(self) -> None:
        """Close now; what is still queued is lost (the program is gone)."""
        if self.descriptor < 0:
            return
        self._loop.forget(self.descriptor)
        self._pending.clear()
        os.close(self.descriptor)
        self.descriptor = -1

    def _flush(self, _events: int = 0) -> None:
        was_full = self.is_full
        try:
            while self._pending:
                del self._pending[: os.write(self.descriptor, self._pending[:CHUNK])]
        except BlockingIOError:
            self._loop.watch(self.descriptor, WRITE, self._flush)
        except OSError:
            self.close()
        else:
            self._loop.forget(self.descriptor)
            if self._closing:
                self.close()
        if was_full and not self.is_full:
            self._drained()


class Client:
    """One attached client: receives the streams it asked for, and may feed stdin."""

    def __init__(
        self, loop: Loop, request: AttachClient, target: Input | None, changed: Callable[["Client"], None]
    ) -> None:
        """`changed` is called when the client has left or can take output again."""
        try:
            self.socket = socket.socket(fileno=request.descriptor)
        except OSError:  # it is no socket
            os.close(request.descriptor)
            raise
        self.socket.setblocking(False)
        self.wants = {STDOUT: request.stdout, STDERR: request.stderr}
        self._framed = request.framed
        self._loop = loop
        self._target = target if request.stdin else None
        self._changed = changed
        self._unsent = bytearray()
        self._escape = Escape(request.detach_keys)
        self._finishing = False
        self._reading = True
        self._leftover = request.leftover
        self.has_detached = False  # by typing the detach keys
        self._withheld = self._standing = False

    def begin(self) -> None:
        """Start to serve the client: what it sent early first."""
        self.update()
        leftover, self._leftover = self._leftover, b""
        if leftover:
            self._input(leftover)

    def withhold(self) -> None:
        """Keep what the client is to receive until `release`: somebody else sends it something first. The
        client counts as full until `go_on`.
        """
        self._withheld = self._standing = True

    def go_on(self) -> None:
        """Let the program write again; it is still kept."""
        self._standing = False
        self._changed(self)

    def release(self) -> None:
        """Send what was kept, and go on as usual."""
        self._withheld = self._standing = False
        if not self.is_closed:
            self._flush()
            self._changed(self)

    @property
    def is_full(self) -> bool:
        return self._standing or len(self._unsent) >= HIGH_WATER

    @property
    def is_closed(self) -> bool:
        return self.socket.fileno() < 0

    def send(self, stream: int, data: bytes) -> None:
        """Queue a chunk of `stream`, framed if the client wants frames, and send what the socket takes."""
        header = _HEADER.pack(stream, len(data)) if self._framed else b""
        if self._unsent or self._withheld:
            self._unsent += header
            self._unsent += data
            return  # the loop is waiting for room in the socket
        try:
            sent = self.socket.sendmsg([header, data])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return
        if sent < len(header) + len(data):
            self._unsent += (header + data)[sent:]
            self.update()

    def finish(self) -> None:
        """Close after the last byte is sent: the container has ended."""
        self._finishing = True
        self._flush()

    def close(self) -> None:
        """Leave: end of the stream for the client; the container does not notice."""
        if self.is_closed:
            return
        self._loop.forget(self.socket.fileno())
        # A socket that is closed with unread input in it resets the connection: the client would read an
        # error after our last byte instead of the end. unix(7) does so as well as tcp(7).
        with contextlib.suppress(OSError):  # the client was first, or has sent nothing more
            self.socket.shutdown(socket.SHUT_RDWR)
            while self.socket.recv(HIGH_WATER):
                pass
        self.socket.close()
        self._changed(self)

    def update(self) -> None:
        """Watch the socket for what can be done with it now."""
        if self.is_closed:
            return
        wants_write = bool(self._unsent) and not self._withheld
        if self._is_held():
            if wants_write:
                self._loop.watch(self.socket.fileno(), WRITE, self._ready)
            else:
                self._loop.forget(self.socket.fileno())  # a hang-up must not end what is still to be read
            return
        events = (READ if self._reading else 0) | (WRITE if wants_write else 0)
        self._loop.watch(self.socket.fileno(), events, self._ready)

    def _lose(self) -> None:
        """The client takes no more output. What it has sent before it left is still input."""
        self._unsent.clear()
        if self._finishing or not self._reading:
            self.close()
            return
        self.wants = dict.fromkeys(self.wants, False)
        self.update()
        self._changed(self)

    def _is_held(self) -> bool:
        """True while the client has input for us that the program does not take yet."""
        return self._reading and self._target is not None and self._target.is_full

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.is_closed:
            return
        if events & READ:
            self._receive()
        elif events & HANGUP and not self._is_held():
            self.close()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self._input(data)
        else:
            self._reading = False  # the client has shut down its writing side only: it may still read
            if self._target is not None:
                self._target.write(self._escape.rest())
                if self._target.close_once:
                    self._target.finish()
        self.update()

    def _input(self, data: bytes) -> None:
        data, detached = self._escape.filter(data)
        if self._target is not None and data:
            self._target.write(data)
        if detached:
            self.has_detached = True
            self.close()

    def _flush(self) -> None:
        if self.is_closed or self._withheld:
            return
        was_full = self.is_full
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent[: 4 * CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            return
        if self._finishing and not self._unsent:
            self.close()
            return
        self.update()
        if was_full and not self.is_full:
            self._changed(self)


class Escape:
    """Finds the detach key sequence in input that arrives in any pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the sequence is complete; a broken-off sequence is passed on
        whole.
        """
        if not self._keys:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._matched]:
                passed += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
            else:
                passed.append(byte)
        return bytes(passed), False

    def rest(self) -> bytes:
        """Return the held back beginning of a sequence that will not be completed any more."""
        held, self._matched = self._keys[: self._matched], 0
        return held
