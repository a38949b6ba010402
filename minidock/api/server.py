"""Accepts clients and gives each a thread; stops without cutting off a request that is nearly done.

Threads and blocking calls, no event loop: a thread waits in poll(2) on its client and on one eventfd, which
all of them see at once when the server stops. A thread costs about 0.1 ms to make and its stack is not
touched beyond a few pages.
"""

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

import h11

from minidock.api import tls
from minidock.api.connection import Connection, stop_descriptor
from minidock.api.listener import Listener

log = logging.getLogger(__name__)

STOP_GRACE = 5.0
STACK_SIZE = 1024 * 1024
DESCRIPTOR_PAUSE = 0.1

Serve = Callable[[Connection], None]


class Server:
    """The listeners and the threads of their clients.

    `run` accepts until `stop`, which may be called from a signal handler's thread; then it closes the
    listeners, lets running requests end for `STOP_GRACE` seconds, and breaks off the rest.
    """

    def __init__(self, listeners: Sequence[Listener], serve: Serve) -> None:
        self._listeners = listeners
        self._serve = serve
        self._stop = stop_descriptor()
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}

    def run(self) -> None:
        """Accept clients until `stop`; returns when every thread has ended."""
        threading.stack_size(STACK_SIZE)
        by_descriptor = {listener.socket.fileno(): listener for listener in self._listeners}
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        for listener in self._listeners:
            listener.socket.setblocking(False)
            poll.register(listener.socket, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._stop in ready:
                break
            for descriptor in ready:
                self._accept(by_descriptor[descriptor])
        self._finish()

    def stop(self) -> None:
        """Make `run` return; safe in any thread and more than once."""
        os.eventfd_write(self._stop, 1)

    def _accept(self, listener: Listener) -> None:
        try:
            client, _ = listener.socket.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # Out of descriptors (EMFILE): the client waits in the backlog; without the pause this loop
            # would spin.
            log.error("cannot accept a client: %s", error)
            time.sleep(DESCRIPTOR_PAUSE)
            return
        client.setblocking(True)
        context = listener.tls
        thread = threading.Thread(
            target=self._serve_client, args=(client, context), name="client", daemon=True
        )
        with self._lock:
            self._clients[client] = thread
        try:
            thread.start()
        except RuntimeError as error:
            log.error("cannot start a thread for a client: %s", error)
            self._forget(client)

    def _serve_client(self, client: socket.socket, context: ssl.SSLContext | None) -> None:
        connection = None
        try:
            if context is not None:
                client = self._secured(client, context)
            connection = Connection(client, self._stop)
            self._serve(connection)
        except (OSError, h11.ProtocolError) as error:
            log.debug("a connection ended: %s", error)
        except Exception:
            log.exception("a connection failed")
        if connection is None or not connection.is_relayed:
            self._forget(client)
            return
        with self._lock:
            self._clients.pop(client, None)

    def _secured(self, client: socket.socket, context: ssl.SSLContext) -> socket.socket:
        """Do the handshake; from then on the client is known by its secure socket."""
        secure = tls.accept(client, context)
        with self._lock:
            self._clients[secure] = self._clients.pop(client)
        return secure

    def _forget(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.pop(client, None)
        client.close()

    def _finish(self) -> None:
        for listener in self._listeners:
            listener.close()
        deadline = time.monotonic() + STOP_GRACE
        for thread in self._threads():
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads():
            thread.join(1.0)

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._clients.values())
