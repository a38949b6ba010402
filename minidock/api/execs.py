"""Routes of exec: make one, run it with the client's own socket as its streams, resize, look at it.

The upgrade is answered before the program is started, so a start that fails is told in the stream, where
Docker tells it (engine-api.md 2.2 and 3).
"""

import contextlib
import os
import struct

import msgspec

from minidock.api.detach_keys import parse_detach_keys
from minidock.api.exchange import ApiVersion, Exchange, Reply, json_reply, no_content
from minidock.api.streams import RAW_TYPE, content_type, send
from minidock.api.wire import from_wire, to_wire
from minidock.engine import execs
from minidock.engine.engine import Engine
from minidock.engine.execs import ExecConfig
from minidock.errors import InvalidParameter, MinidockError
from minidock.runtime.requests import AttachClient

STDOUT = 1
NOT_EXECUTABLE, NOT_FOUND = 126, 127
NOT_FOUND_SINCE: ApiVersion = (1, 42)  # before, 126 was the exit code of every program that did not start


class ExecStart(msgspec.Struct, kw_only=True):
    """The body of a start."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


def create(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/exec."""
    config, unknown = from_wire(ExecConfig, exchange.json())
    parse_detach_keys(config.detach_keys)
    identifier = execs.create(engine, name, config)
    warnings = [f"The field {field} is not known to this engine and has no effect." for field in unknown]
    return json_reply({"Id": identifier, **({"Warnings": warnings} if warnings else {})}, 201)


def start(engine: Engine, exchange: Exchange, identifier: str) -> Reply | None:
    """POST /exec/{id}/start: detached it answers when the program runs, else it becomes the stream."""
    options, _ = from_wire(ExecStart, exchange.json(required=False))
    one = execs.get(engine, identifier)
    if options.console_size and not options.tty:
        raise InvalidParameter("console size is only supported when TTY is enabled")
    keys = parse_detach_keys(one.config.detach_keys)
    if options.console_size:
        one.config.console_size = options.console_size
    execs.claim(engine, identifier)
    if options.detach:
        execs.start(engine, one)
        return no_content(200)
    framed = not options.tty
    kind = content_type(exchange, options.tty) if exchange.head.wants_upgrade else RAW_TYPE
    descriptor, leftover = exchange.hijack(kind)
    try:
        client = AttachClient(
            descriptor=descriptor,
            stdin=one.config.attach_stdin,
            stdout=one.config.attach_stdout,
            stderr=one.config.attach_stderr,
            framed=framed,
            leftover=leftover,
            detach_keys=keys if one.config.tty else b"",
        )
        execs.start(engine, one, client)
    except MinidockError as error:
        with contextlib.suppress(OSError):
            send(descriptor, [_spoken(str(error), framed)])
    finally:
        os.close(descriptor)
    return None


def resize(engine: Engine, exchange: Exchange, identifier: str) -> Reply:
    """POST /exec/{id}/resize: `h` rows, `w` columns."""
    rows, columns = exchange.query.integer("h"), exchange.query.integer("w")
    if rows is None or columns is None:
        raise InvalidParameter("invalid resize: both h (rows) and w (columns) are needed")
    execs.resize(engine, identifier, rows, columns)
    return no_content(200)


def inspect(engine: Engine, exchange: Exchange, identifier: str) -> Reply:
    """GET /exec/{id}/json."""
    seen = execs.inspect(engine, identifier)
    if exchange.version < NOT_FOUND_SINCE and seen.exit_code == NOT_FOUND and not seen.pid:
        seen.exit_code = NOT_EXECUTABLE
    return json_reply(to_wire(seen))


def _spoken(message: str, framed: bool) -> bytes:
    """Return the reason of a failed start as the program's own output would come, as Docker does."""
    data = message.encode("utf-8", "replace") + b"\r\n"
    return struct.pack(">BxxxL", STDOUT, len(data)) + data if framed else data
