"""The embedded name server: 127.0.0.11 in every container of a user-defined network.

Its sockets lie in the container's namespace, on ports that the kernel chose; nft rules there lead port 53 to
them, so a program may bind port 53 itself. A socket keeps its namespace alive, so the sockets are closed with
the container. One thread serves all containers; what it does not know it asks the host's own name servers,
from the host's namespace, never waiting for them. resolv.conf(5), RFC 1035.
"""

import contextlib
import functools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minidock.formats import dns
from minidock.kernel.nftables import Nftables
from minidock.network import namespaces

log = logging.getLogger(__name__)
ADDRESS = "127.0.0.11"
PATIENCE = 4.0  # seconds for one upstream server, then the next is asked
LARGEST = 65535
MAXIMUM_PENDING = 1024

# Names of an address, or addresses of a name; None: not one of ours.
Lookup = Callable[[dns.Question], bytes | None]
Server = tuple[str, int]


@dataclass
class Zone:
    """What one container is answered: `lookup` for our own names, `upstream` servers for all others."""

    lookup: Lookup
    upstream: Sequence[Server]
    udp: socket.socket
    tcp: socket.socket


@dataclass
class _Pending:
    """A question that was passed on; `servers` are those still to be asked."""

    zone: Zone
    client: object
    message: bytes
    question: dns.Question
    servers: list[Server]
    deadline: float = 0.0
    sockets: list[socket.socket] = field(default_factory=list)


def open_sockets(namespace: int) -> tuple[socket.socket, socket.socket]:
    """Return the UDP and the TCP socket of a name server in a namespace, port 53 led to them; OSError."""

    def make() -> tuple[socket.socket, socket.socket]:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            udp.bind((ADDRESS, 0))
            tcp.bind((ADDRESS, 0))
            tcp.listen(32)
            _lead(udp.getsockname()[1], tcp.getsockname()[1])
        except BaseException:
            udp.close()
            tcp.close()
            raise
        return udp, tcp

    return namespaces.inside(namespace, make)


def _lead(udp: int, tcp: int) -> None:
    nft = Nftables()
    try:
        nft.run(
            "add table ip minidock-names\ndelete table ip minidock-names\n"
            "table ip minidock-names {\nchain lead {\ntype nat hook output priority -100\n"
            f"ip daddr {ADDRESS} udp dport 53 dnat to {ADDRESS}:{udp}\n"
            f"ip daddr {ADDRESS} tcp dport 53 dnat to {ADDRESS}:{tcp}\n}}\n}}\n"
        )
    finally:
        nft.close()


class NameServer:
    """The thread that answers all containers of an engine. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zones: dict[str, Zone] = {}
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._pending: dict[int, _Pending] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread: threading.Thread | None = None
        self._stopping = False

    def serve(self, key: str, zone: Zone) -> None:
        """Answer on the zone's sockets, which are the server's from now on, until `forget(key)`."""
        self.forget(key)
        with self._lock:
            self._zones[key] = zone
            self._watch(zone.udp, lambda: self._from_client(zone))
            self._watch(zone.tcp, lambda: self._accept(zone))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="names", daemon=True)
                self._thread.start()

    def serves(self, key: str) -> bool:
        """Whether there is a zone of this key."""
        return key in self._zones

    def forget(self, key: str) -> None:
        """Stop answering for `key` and close its sockets. Does nothing when there is none."""
        with self._lock:
            zone = self._zones.pop(key, None)
            if zone is None:
                return
            for descriptor in [fd for fd, one in self._pending.items() if one.zone is zone]:
                self._drop(descriptor)
            for one in (zone.udp, zone.tcp):
                self._unwatch(one)
                one.close()

    def close(self) -> None:
        """End the thread and close everything."""
        for key in list(self._zones):
            self.forget(key)
        self._stopping = True
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._stopping:
            timeout = 1.0 if self._pending else None
            for descriptor, _ in self._epoll.poll(timeout):
                with self._lock:
                    ready = self._ready.get(descriptor)
                    if ready is None:
                        continue
                    try:
                        ready()
                    except Exception:
                        log.exception("a name query failed in an unforeseen way")
            with self._lock:
                self._give_up_waiting()

    def _watch(self, one: socket.socket, ready: Callable[[], None]) -> None:
        self._ready[one.fileno()] = ready
        self._epoll.register(one.fileno(), select.EPOLLIN)
        os.eventfd_write(self._wake, 1)
        self._ready.setdefault(self._wake, self._woken)

    def _unwatch(self, one: socket.socket) -> None:
        if self._ready.pop(one.fileno(), None) is not None:
            self._epoll.unregister(one.fileno())

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _from_client(self, zone: Zone) -> None:
        try:
            message, client = zone.udp.recvfrom(LARGEST)
            question = dns.parse_question(message)
        except (OSError, ValueError):
            return  # whoever sends no question gets no answer
        answer = zone.lookup(question)
        if answer is not None:
            _send(zone.udp, dns.fitting(answer, message), client)
            return
        if len(self._pending) >= MAXIMUM_PENDING or not zone.upstream:
            _send(zone.udp, dns.refusal(question, dns.SERVFAIL), client)
            return
        self._ask(_Pending(zone, client, message, question, list(zone.upstream)))

    def _ask(self, pending: _Pending) -> None:
        """Pass a question on to the next server, from a port of its own that nobody could guess."""
        while pending.servers:
            server = pending.servers.pop(0)
            family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
            try:
                channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                channel.connect(server)
                channel.send(pending.message)
            except OSError:
                continue
            pending.deadline = time.monotonic() + PATIENCE
            self._pending[channel.fileno()] = pending
            pending.sockets = [channel]
            self._watch(channel, functools.partial(self._from_server, pending, channel))
            return
        _send(pending.zone.udp, dns.refusal(pending.question, dns.SERVFAIL), pending.client)

    def _from_server(self, pending: _Pending, channel: socket.socket) -> None:
        try:
            answer = channel.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:
            answer = b""  # nobody listens there
        if answer[:2] != pending.message[:2] and answer:
            return
        self._drop(channel.fileno())
        if answer:
            _send(pending.zone.udp, answer, pending.client)
        else:
            self._ask(pending)

    def _give_up_waiting(self) -> None:
        now = time.monotonic()
        for descriptor in [fd for fd, one in self._pending.items() if one.deadline < now]:
            pending = self._pending[descriptor]
            self._drop(descriptor)
            self._ask(pending)

    def _drop(self, descriptor: int) -> None:
        pending = self._pending.pop(descriptor, None)
        for one in pending.sockets if pending else ():
            self._unwatch(one)
            one.close()

    def _accept(self, zone: Zone) -> None:
        with contextlib.suppress(OSError):
            client, _ = zone.tcp.accept()
            threading.Thread(target=_serve_stream, args=(zone, client), name="names", daemon=True).start()


def _serve_stream(zone: Zone, client: socket.socket) -> None:
    """Answer the questions of one TCP connection: rare, so it has a thread of its own and may wait."""
    with client, contextlib.suppress(OSError, ValueError):
        client.settimeout(PATIENCE)
        while message := _read_framed(client):
            question = dns.parse_question(message)
            answer = zone.lookup(question) or _ask_by_stream(zone.upstream, message)
            answer = answer or dns.refusal(question, dns.SERVFAIL)
            client.sendall(len(answer).to_bytes(2, "big") + answer)


def _ask_by_stream(servers: Sequence[Server], message: bytes) -> bytes:
    for server in servers:
        with contextlib.suppress(OSError), socket.create_connection(server, PATIENCE) as channel:
            channel.sendall(len(message).to_bytes(2, "big") + message)
            answer = _read_framed(channel)
            if answer:
                return answer
    return b""


def _read_framed(channel: socket.socket) -> bytes:
    length = int.from_bytes(_read(channel, 2), "big")
    return _read(channel, length) if length else b""


def _read(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data


def _send(channel: socket.socket, answer: bytes, client: object) -> None:
    with contextlib.suppress(OSError):
        channel.sendto(answer, client)  # type: ignore[call-overload]
