"""Attach and logs: the routes whose answer is a container's output.

After `101 UPGRADED` the daemon leaves the data path: the client's own socket goes to the shim, with the
bytes the HTTP parser had read too far, and survives the daemon. Both content types mean what engine-api.md
2.2 says: frames are announced as such only from API 1.42 on.
"""

import contextlib
import functools
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from minidock.api import log_output
from minidock.api.connection import SEND_TIMEOUT
from minidock.api.detach_keys import parse_detach_keys
from minidock.api.exchange import Exchange
from minidock.api.log_output import Form
from minidock.api.negotiation import MULTIPLEXED_TYPE_SINCE
from minidock.api.query import Query
from minidock.engine import attachment, containers, log_drivers, waiting
from minidock.engine import logs as engine_logs
from minidock.engine.engine import Engine
from minidock.engine.logs import Selection
from minidock.errors import MinidockError
from minidock.runtime.logs import Record
from minidock.runtime.requests import AttachClient

log = logging.getLogger(__name__)

RAW_TYPE = "application/vnd.docker.raw-stream"
MULTIPLEXED_TYPE = "application/vnd.docker.multiplexed-stream"
SYSTEM_ERROR = 3
"""The frame type by which the engine itself speaks in a multiplexed stream."""


class Wanted(NamedTuple):
    """The streams that a client wants to be attached to."""

    stdin: bool
    stdout: bool
    stderr: bool


def attach(engine: Engine, exchange: Exchange, name: str) -> None:
    """POST /containers/{name}/attach: answered at once, also before the container is started."""
    tty = attachment.check_attachable(engine, name)
    # A client that asked for no upgrade is an old one, and is told the one type it knows.
    kind = content_type(exchange, tty) if exchange.head.wants_upgrade else RAW_TYPE
    _attach(engine, exchange, name, _wanted(exchange.query), not tty, lambda: exchange.hijack(kind))


def attach_by_websocket(engine: Engine, exchange: Exchange, name: str) -> None:
    """GET /containers/{name}/attach/ws: both streams as they come, without Docker's frames."""
    attachment.check_attachable(engine, name)
    everything = exchange.version < MULTIPLEXED_TYPE_SINCE  # that is when the choice came to this route
    wanted = Wanted(True, True, True) if everything else _wanted(exchange.query)
    _attach(engine, exchange, name, wanted, False, exchange.hijack_as_websocket)


def _wanted(query: Query) -> Wanted:
    return Wanted(query.boolean("stdin"), query.boolean("stdout"), query.boolean("stderr"))


def _attach(
    engine: Engine,
    exchange: Exchange,
    name: str,
    wanted: Wanted,
    framed: bool,
    hijack: Callable[[], tuple[int, bytes]],
) -> None:
    """Become the stream of the container, and before that of its log, as far as the request asks for them."""
    query = exchange.query
    keys = parse_detach_keys(query.text("detachKeys"))
    with contextlib.ExitStack() as stack:
        opened = None
        if query.boolean("logs") and (wanted.stdout or wanted.stderr):
            selection = Selection(stdout=wanted.stdout, stderr=wanted.stderr)
            opened = stack.enter_context(engine_logs.open_log(engine, name, selection))
        else:
            # The client starts the container as soon as it reads the 101: the start has to wait until the
            # socket is parked, or a short program has said everything before it is heard.
            stack.enter_context(containers.find(engine, name).lock)
        descriptor, leftover = hijack()
        stack.callback(_close, descriptor)
        history = functools.partial(_send_log, descriptor, Form(framed))
        if not query.boolean("stream"):
            history(opened.read() if opened else ())
            return
        client = AttachClient(
            descriptor=os.dup(descriptor),
            stdin=wanted.stdin,
            stdout=wanted.stdout,
            stderr=wanted.stderr,
            framed=framed,
            leftover=leftover,
            detach_keys=keys if containers.find(engine, name).tty else b"",
        )
        try:
            if opened:
                attachment.attach_after_log(engine, name, client, opened, history)
            else:
                attachment.attach(engine, name, client)
        except MinidockError as error:
            log.warning("attach to %s failed after the upgrade: %s", name, error)
            send(descriptor, [_spoken(str(error), framed)])


def logs(engine: Engine, exchange: Exchange, name: str) -> None:
    """GET /containers/{name}/logs: what is there, and with `follow` what comes until the container ends."""
    query = exchange.query
    selection = log_output.parse_selection(query)
    container = containers.find(engine, name)
    record = container.record
    details = log_drivers.attributes(record.config, record.host_config) if query.boolean("details") else None
    form = Form(not container.tty, query.boolean("timestamps"), details)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(engine_logs.open_log(engine, container.id, selection))
        following = query.boolean("follow")
        waiter = stack.enter_context(waiting.wait(engine, container.id)) if following else None
        grown = opened.follow() if following else -1
        stream = stack.enter_context(exchange.stream(content_type(exchange, container.tty)))
        while True:
            for piece in form.encode(opened.read()):
                stream.write(piece)
            left = opened.seconds_left(time.time_ns())
            if waiter is None or (left is not None and left <= 0):
                return
            # The end is looked for before the last records are read: they were written before it.
            if waiter.fileno() in exchange.watch(waiter.fileno(), grown, timeout=left):
                waiter = None


def content_type(exchange: Exchange, tty: bool) -> str:
    """Return what the stream of a container with or without a terminal is called."""
    return RAW_TYPE if tty or exchange.version < MULTIPLEXED_TYPE_SINCE else MULTIPLEXED_TYPE


def _send_log(descriptor: int, form: Form, records: Iterable[Record]) -> None:
    """Send records of the log as `attach` with logs=1 does before its stream."""
    send(descriptor, form.encode(records))


def _spoken(message: str, framed: bool) -> bytes:
    """Return an error of the engine as bytes of the stream."""
    data = message.encode("utf-8", "replace") + b"\n"
    return struct.pack(">BxxxL", SYSTEM_ERROR, len(data)) + data if framed else data


def send(descriptor: int, pieces: Iterable[bytes]) -> None:
    """Send on a socket that the shim has or will have: it must not block, for the shim cannot wait."""
    client = socket.socket(fileno=descriptor)
    try:
        client.settimeout(SEND_TIMEOUT)  # waits in poll(2): the socket itself becomes non-blocking
        for piece in pieces:
            client.sendall(piece)
    finally:
        client.detach()


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
