"""Attach and logs: the routes whose answer is a container's output.

After `101 UPGRADED` the daemon leaves the data path: the client's own socket goes to the shim, with the
bytes the HTTP parser had read too far, and survives the daemon. Both content types mean what engine-api.md
2.2 says: frames are announced as such only from API 1.42 on.
"""

import contextlib
import logging
import os
import socket
import struct
import time

from minidock.api import log_output
from minidock.api.connection import SEND_TIMEOUT, limit_sends
from minidock.api.detach_keys import parse_detach_keys
from minidock.api.exchange import Exchange
from minidock.api.log_output import Form
from minidock.api.negotiation import MULTIPLEXED_TYPE_SINCE
from minidock.engine import attachment, containers, waiting
from minidock.engine import logs as engine_logs
from minidock.engine.engine import Engine
from minidock.engine.logs import Selection
from minidock.errors import MinidockError
from minidock.runtime.requests import AttachClient

log = logging.getLogger(__name__)

RAW_TYPE = "application/vnd.docker.raw-stream"
MULTIPLEXED_TYPE = "application/vnd.docker.multiplexed-stream"
FOLLOW_INTERVAL = 0.05
"""Seconds between two looks at a growing log: it feels immediate, and a look costs two stat calls."""
SYSTEM_ERROR = 3
"""The frame type by which the engine itself speaks in a multiplexed stream."""


def attach(engine: Engine, exchange: Exchange, name: str) -> None:
    """POST /containers/{name}/attach: answered at once, also before the container is started."""
    query = exchange.query
    keys = parse_detach_keys(query.text("detachKeys"))
    tty = attachment.check_attachable(engine, name)
    history = _history(engine, exchange, name, tty) if query.boolean("logs") else []
    # A client that asked for no upgrade is an old one, and is told the one type it knows.
    content_type = _content_type(exchange, tty) if exchange.head.wants_upgrade else RAW_TYPE
    with contextlib.ExitStack() as stack:
        if not history:
            # The client starts the container as soon as it reads the 101: the start has to wait until the
            # socket is parked, or a short program has said everything before it is heard.
            stack.enter_context(containers.find(engine, name).lock)
        descriptor, leftover = exchange.hijack(content_type)
        stack.callback(_close, descriptor)
        _send(descriptor, history)
        if not query.boolean("stream"):
            return
        client = AttachClient(
            descriptor=os.dup(descriptor),
            stdin=query.boolean("stdin"),
            stdout=query.boolean("stdout"),
            stderr=query.boolean("stderr"),
            framed=not tty,
            leftover=leftover,
            detach_keys=keys if tty else b"",
        )
        try:
            attachment.attach(engine, name, client)
        except MinidockError as error:
            log.warning("attach to %s failed after the upgrade: %s", name, error)
            _send(descriptor, [_spoken(str(error), framed=not tty)])


def logs(engine: Engine, exchange: Exchange, name: str) -> None:
    """GET /containers/{name}/logs: what is there, and with `follow` what comes until the container ends."""
    query = exchange.query
    selection = log_output.parse_selection(query)
    container = containers.find(engine, name)
    form = Form(not container.tty, query.boolean("timestamps"), query.boolean("details"))
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(engine_logs.open_log(engine, container.id, selection))
        following = query.boolean("follow")
        waiter = stack.enter_context(waiting.wait(engine, container.id)) if following else None
        stream = stack.enter_context(exchange.stream(_content_type(exchange, container.tty)))
        while True:
            for piece in form.encode(opened.read()):
                stream.write(piece)
            if waiter is None or opened.is_past_until(time.time_ns()):
                return
            # The end is looked for before the last records are read: they were written before it.
            if exchange.watch(waiter.fileno(), timeout=FOLLOW_INTERVAL):
                waiter = None


def _content_type(exchange: Exchange, tty: bool) -> str:
    return RAW_TYPE if tty or exchange.version < MULTIPLEXED_TYPE_SINCE else MULTIPLEXED_TYPE


def _history(engine: Engine, exchange: Exchange, name: str, tty: bool) -> list[bytes]:
    """Return the log so far, as `attach` with logs=1 sends it first."""
    selection = Selection(stdout=exchange.query.boolean("stdout"), stderr=exchange.query.boolean("stderr"))
    if not (selection.stdout or selection.stderr):
        return []
    with engine_logs.open_log(engine, name, selection) as opened:
        return list(Form(framed=not tty).encode(opened.read()))


def _spoken(message: str, framed: bool) -> bytes:
    """Return an error of the engine as bytes of the stream."""
    data = message.encode("utf-8", "replace") + b"\n"
    return struct.pack(">BxxxL", SYSTEM_ERROR, len(data)) + data if framed else data


def _send(descriptor: int, pieces: list[bytes]) -> None:
    """Send before the shim has the socket, which must not keep our time-out."""
    if not pieces:
        return
    client = socket.socket(fileno=descriptor)
    try:
        limit_sends(client, SEND_TIMEOUT)
        for piece in pieces:
            client.sendall(piece)
        limit_sends(client, 0)
    finally:
        client.detach()


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
