"""Accepts clients and gives each a thread; stops without cutting off a request that is nearly done.

Threads and blocking calls, no event loop: a thread waits in poll(2) on its client and on one eventfd, which
all of them see at once when the server stops.
"""

import contextlib
import functools
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
from minidock.api.crew import Crew
from minidock.api.listener import Listener

log = logging.getLogger(__name__)

STOP_GRACE = 5.0
STACK_SIZE = 1024 * 1024
BREAK_OFF_GRACE = 1.0
DESCRIPTOR_PAUSE = 0.1
KEPT_THREADS = 24  # eight docker command lines at once, each with three connections

Serve = Callable[[Connection], None]


class Server:
    """The listeners and their clients, each of which has a thread.

    `run` accepts until `stop`, which may be called from a signal handler's thread; then it closes the
    listeners, lets running requests end for `STOP_GRACE` seconds, and breaks off the rest.
    """

    def __init__(self, listeners: Sequence[Listener], serve: Serve) -> None:
        self._listeners = listeners
        self._serve = serve
        self._stop = stop_descriptor()
        self._changed = threading.Condition()
        self._clients: set[socket.socket] = set()
        self._crew = Crew("client", KEPT_THREADS)

    def run(self) -> None:
        """Accept clients until `stop`; returns when every client is gone."""
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
        with self._changed:
            self._clients.add(client)
        try:
            self._crew.hand_over(functools.partial(self._serve_client, client, listener.tls))
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
        self._forget(client, is_ours=connection is None or not connection.is_relayed)

    def _secured(self, client: socket.socket, context: ssl.SSLContext) -> socket.socket:
        """Do the handshake; from then on the client is known by its secure socket."""
        secure = tls.accept(client, context)
        with self._changed:
            self._clients ^= {client, secure}
        return secure

    def _forget(self, client: socket.socket, is_ours: bool = True) -> None:
        if is_ours:
            client.close()
        with self._changed:
            self._clients.discard(client)
            self._changed.notify_all()

    def _finish(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._crew.dismiss()
        self._await_last_client(STOP_GRACE)
        with self._changed:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._await_last_client(BREAK_OFF_GRACE)

    def _await_last_client(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._clients, seconds)
