"""The relay's part for UDP: each client gets a socket of its own to the container, until it falls silent.

An answer must leave from the very address the question was sent to, or the client's kernel drops it; with a
socket that is bound to all addresses only IP_PKTINFO tells which that was. udp(7), ip(7), ipv6(7).
"""

import contextlib
import socket
import struct
import time

from minidock.runtime.loop import READ, Loop

SILENCE = 90.0  # seconds, as Docker's proxy
MAXIMUM_FLOWS = 1024
LARGEST = 65535
IP_PKTINFO = 8

Address = tuple[object, ...]
Control = list[tuple[int, int, bytes]]


class Datagrams:
    """One published UDP port."""

    def __init__(self, loop: Loop, bound: socket.socket, target: tuple[str, int]) -> None:
        self._loop, self._bound, self._target = loop, bound, target
        self._flows: dict[Address, tuple[socket.socket, Control]] = {}
        self._last: dict[Address, float] = {}
        self._is_closed = False
        if bound.family == socket.AF_INET:
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.watch(bound.fileno(), READ, self._from_client)
        loop.after(SILENCE, self._forget_silent)

    def close(self) -> None:
        """Give the port free."""
        self._is_closed = True
        for address in list(self._flows):
            self._end(address)
        self._loop.forget(self._bound.fileno())
        self._bound.close()

    def _from_client(self, _events: int) -> None:
        try:
            data, control, _, client = self._bound.recvmsg(LARGEST, 256)
        except OSError:
            return
        if client not in self._flows:
            if len(self._flows) >= MAXIMUM_FLOWS:
                self._end(min(self._last, key=self._last.__getitem__))
            try:
                self._begin(client, _source(control))
            except OSError:
                return
        self._last[client] = time.monotonic()
        with contextlib.suppress(OSError):  # refused by the container: UDP promises nothing
            self._flows[client][0].send(data)

    def _begin(self, client: Address, control: Control) -> None:
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        flow = socket.socket(family, socket.SOCK_DGRAM)
        try:
            flow.setblocking(False)
            flow.connect(self._target)
        except OSError:
            flow.close()
            raise
        self._flows[client] = (flow, control)
        self._loop.watch(flow.fileno(), READ, lambda _events: self._from_container(client))

    def _from_container(self, client: Address) -> None:
        flow, control = self._flows[client]
        try:
            data = flow.recv(LARGEST)
        except OSError:
            return
        self._last[client] = time.monotonic()
        with contextlib.suppress(OSError):
            self._bound.sendmsg([data], control, 0, client)

    def _end(self, client: Address) -> None:
        flow, _ = self._flows.pop(client)
        self._last.pop(client, None)
        self._loop.forget(flow.fileno())
        flow.close()

    def _forget_silent(self) -> None:
        if self._is_closed:
            return
        limit = time.monotonic() - SILENCE
        for client in [client for client, last in self._last.items() if last < limit]:
            self._end(client)
        self._loop.after(SILENCE, self._forget_silent)


def _source(control: Control) -> Control:
    """Return the control message that makes an answer leave from where the question was sent to."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, _, address = struct.unpack("I4s4s", data[:12])
            return [(level, kind, struct.pack("I4s4s", 0, address, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return [(level, kind, data[:16] + bytes(4))]
    return []
