"""Sessions whose socket cannot be given to a shim: encrypted ones, and those in frames of a websocket.

The shim gets one end of a socketpair, and a thread here carries on between the other end and the client (one
thread for both directions: an SSL object is not made for two). Such a session ends with the daemon.
"""

import contextlib
import select
import socket
import ssl
import threading
from typing import Protocol

FAREWELL_TIMEOUT = 1.0
BUFFER = 256 * 1024
CHUNK = 64 * 1024


class Codec(Protocol):
    """The form that a stream has on the client's side."""

    has_ended: bool  # the client has said that it leaves
    replies: bytearray  # what is to be sent to the client because of what it sent

    def decode(self, data: bytes) -> bytes:
        """Return what `data`, the next bytes of the client, mean."""

    def encode(self, data: bytes) -> bytes:
        """Return `data` as the client is to receive it."""

    def farewell(self) -> bytes:
        """Return what tells the client that this was all."""


def relay(client: socket.socket, codec: Codec | None = None, early: bytes = b"") -> int:
    """Give a plain socket whose other end carries on to `client`; the caller owns the returned descriptor.

    From now on `client` belongs to the relay. `early` is what the client has sent already.
    """
    ours, theirs = socket.socketpair()
    threading.Thread(target=_carry, args=(client, ours, codec, early), name="relay", daemon=True).start()
    return theirs.detach()


class _Pipe:
    """One direction: what was read from one end and not written to the other."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.ended = False  # the source has sent its last byte
        self.closed = False  # and the target has been told

    @property
    def wants_more(self) -> bool:
        return not self.ended and len(self.data) < BUFFER


def _carry(client: socket.socket, plain: socket.socket, codec: Codec | None, early: bytes) -> None:
    inwards, outwards = _Pipe(codec.decode(early) if codec else early), _Pipe()
    client.setblocking(False)
    plain.setblocking(False)
    try:
        while not outwards.closed:
            data = _read(client, inwards)
            inwards.data += codec.decode(data) if codec else data
            data = _read(plain, outwards)
            if codec is not None:
                data = codec.encode(data) if data else b""
                data = bytes(codec.replies) + data + (codec.farewell() if outwards.ended else b"")
                codec.replies.clear()
                outwards.ended = outwards.ended or inwards.ended or codec.has_ended
            outwards.data += data
            _write(plain, inwards)
            _write(client, outwards)
            if inwards.ended and not inwards.data and not inwards.closed:
                inwards.closed = True
                plain.shutdown(socket.SHUT_WR)  # half of the protocol: the end of the client's input
            outwards.closed = outwards.ended and not outwards.data
            if not outwards.closed:
                _wait(client, plain, inwards, outwards)
        if isinstance(client, ssl.SSLSocket):
            client.settimeout(FAREWELL_TIMEOUT)
            client.unwrap()  # a TLS end: without it the client would take the end for a broken connection
    except OSError:
        pass  # one of the two has left: so does the other
    finally:
        plain.close()
        with contextlib.suppress(OSError):
            client.close()


def _wait(client: socket.socket, plain: socket.socket, inwards: _Pipe, outwards: _Pipe) -> None:
    """Wait until one of the two is ready; ConnectionResetError when the client is gone altogether."""
    if isinstance(client, ssl.SSLSocket) and inwards.wants_more and client.pending():
        return
    poller = select.poll()
    poller.register(client, _events(inwards, outwards))
    wanted = _events(outwards, inwards)
    if wanted:  # a hang-up, which nothing masks, is of no interest before there is room
        poller.register(plain, wanted)
    for descriptor, events in poller.poll():
        if (
            descriptor == client.fileno()
            and not inwards.wants_more
            and events & (select.POLLHUP | select.POLLERR)
        ):
            raise ConnectionResetError("the client left")


def _events(reading: _Pipe, writing: _Pipe) -> int:
    return (select.POLLIN if reading.wants_more else 0) | (select.POLLOUT if writing.data else 0)


def _read(source: socket.socket, pipe: _Pipe) -> bytes:
    """Return what there is to read now; at the source's end `pipe` has ended."""
    if not pipe.wants_more:
        return b""
    try:
        data = source.recv(CHUNK)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return b""
    pipe.ended = not data
    return data


def _write(target: socket.socket, pipe: _Pipe) -> None:
    try:
        while pipe.data:
            del pipe.data[: target.send(pipe.data[:CHUNK])]
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
