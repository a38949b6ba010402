"""The relay: holds a container's published ports on the host, and carries what NAT cannot translate.

A packet for 127.0.0.1 or [::1] cannot be sent on to a container by NAT, and an IPv6 client cannot reach an
IPv4 container that way; such connections end in the listener here, and a second one leads to the container.
The bytes go from socket to socket through a pipe inside the kernel. It lives in the shim, so published ports
survive the daemon, and goes with it. splice(2), tcp(7).
"""

import contextlib
import errno
import fcntl
import functools
import os
import socket
import struct
import time

from minidock.runtime.loop import HANGUP, READ, WRITE, Loop
from minidock.runtime.relay_datagrams import Datagrams

PIPE_SIZE = 256 * 1024
TURNS = 8  # pieces carried before others in the loop have their turn
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as for a port where nobody listens

Target = tuple[str, int]


class Relay:
    """All published ports of one container."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._listeners: dict[int, socket.socket] = {}
        self._targets: dict[int, Target] = {}
        self._datagrams: list[Datagrams] = []
        self._connections: set[Connection] = set()

    def add(self, descriptor: int, target: Target) -> None:
        """Serve a bound (for TCP: listening) socket; the relay owns the descriptor."""
        bound = socket.socket(fileno=descriptor)
        bound.setblocking(False)
        if bound.type == socket.SOCK_DGRAM:
            self._datagrams.append(Datagrams(self._loop, bound, target))
            return
        self._listeners[descriptor] = bound
        self._targets[descriptor] = target
        if bound.proto != socket.IPPROTO_SCTP:  # an SCTP port is held, and NAT alone serves it
            self._loop.watch(descriptor, READ, lambda _events: self._accept(bound, descriptor))

    def close(self) -> None:
        """Give every port free and break off what is being carried. May be called twice."""
        for descriptor, listener in self._listeners.items():
            self._loop.forget(descriptor)
            listener.close()
        for datagrams in self._datagrams:
            datagrams.close()
        for connection in list(self._connections):
            connection.close()
        self._listeners.clear()
        self._datagrams.clear()

    def _accept(self, listener: socket.socket, descriptor: int) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            time.sleep(0.01)  # out of descriptors: who waits stays in the queue until some are closed
            return
        try:
            Connection(self._loop, client, self._targets[descriptor], self._connections)
        except OSError:
            client.close()


class Connection:
    """One client's connection and the one that leads to the container."""

    def __init__(
        self, loop: Loop, client: socket.socket, target: Target, all_of_them: "set[Connection]"
    ) -> None:
        self._loop = loop
        self._client = client
        self._all = all_of_them
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._container = socket.socket(family, socket.SOCK_STREAM)
        self._flows: list[Flow] = []
        for one in (client, self._container):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self._container.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            self._container.close()
            raise OSError(error, os.strerror(error))
        all_of_them.add(self)
        loop.watch(self._container.fileno(), WRITE, self._connected)

    def close(self) -> None:
        """Break off. May be called twice."""
        self._all.discard(self)
        for one in (self._client, self._container):
            if one.fileno() >= 0:
                self._loop.forget(one.fileno())
                one.close()
        for flow in self._flows:
            flow.close()
        self._flows.clear()

    def _connected(self, _events: int) -> None:
        if self._container.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close()
            return
        try:
            self._flows.append(Flow(self._client, self._container))
            self._flows.append(Flow(self._container, self._client))
        except OSError:
            self.close()
            return
        self._watch()

    def _carry(self, source: "Flow", sink: "Flow", events: int) -> None:
        """A socket, from which `source` comes and to which `sink` goes, is ready."""
        if events & HANGUP and source.ended and not sink.ended:
            self.close()  # it has said everything, and will not hear the answer
            return
        for flow in self._flows:
            flow.carry()
        if any(flow.was_reset for flow in self._flows):  # who is cut off must not take it for the end
            for one in (self._client, self._container):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close()
        elif all(flow.ended for flow in self._flows):
            self.close()
        else:
            self._watch()

    def _watch(self) -> None:
        there, back = self._flows
        for one, source, sink in ((self._client, there, back), (self._container, back, there)):
            wanted = (READ if source.wants_more else 0) | (WRITE if sink.buffered else 0)
            if wanted or (source.ended and not sink.ended):
                self._loop.watch(one.fileno(), wanted, functools.partial(self._carry, source, sink))
            else:
                # What it sent waits for the other side. A hang-up, which would be told again and again, comes
                # to light when there is room.
                self._loop.forget(one.fileno())


class Flow:
    """One direction: from a socket into a pipe and on into the other socket, without a copy by us."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.suppress(OSError):  # smaller is slower, no more
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self.buffered = 0
        self.ended = self.was_reset = False

    @property
    def wants_more(self) -> bool:
        """Whether the source is to be read now."""
        return not self.ended and not self.buffered

    def carry(self) -> None:
        """Carry what is there and has room, until one of the sockets is broken. The other direction goes on:
        a server may refuse to hear more and still answer.
        """
        for _ in range(TURNS):
            if self.buffered:
                if not self._pass_on():
                    return
            elif self.ended or not self._fetch():
                return

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reading)
        os.close(self._writing)

    def _fetch(self) -> bool:
        try:
            self.buffered = _splice(self._source.fileno(), self._writing, PIPE_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            self.ended = self.was_reset = True
            return False
        if not self.buffered:
            self.ended = True
            with contextlib.suppress(OSError):  # the other side may have gone first
                self._sink.shutdown(socket.SHUT_WR)
        return True

    def _pass_on(self) -> bool:
        try:
            self.buffered -= _splice(self._reading, self._sink.fileno(), self.buffered)
        except BlockingIOError:
            return False
        except OSError:  # nobody hears it any more
            self.buffered, self.ended = 0, True
            return False
        return True


def _splice(source: int, sink: int, count: int) -> int:
    return os.splice(source, sink, count, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
