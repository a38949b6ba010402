"""Routes of containers, except the streams: Docker's parameters and bodies in, the engine's verbs called."""

import fcntl
import os
from typing import Any

import msgspec

from minidock.api.exchange import JSON, Exchange, Reply, json_reply, no_content
from minidock.api.faults import error_reply
from minidock.api.wire import from_wire, to_wire
from minidock.engine import (
    containers,
    creation,
    inspection,
    lifecycle,
    listing,
    processes,
    prune,
    updating,
    waiting,
)
from minidock.engine.engine import Engine
from minidock.engine.model import ContainerConfig, HostConfig, NetworkingConfig
from minidock.errors import InvalidParameter, MinidockError, NotFound, Unsupported

TRACE_PIPE_SIZE = 1 << 20
TRACE_TYPE = "application/x-ndjson"
EMPTY_BODY_LIMIT = 7
"""Docker takes a start with a body of up to 7 bytes ("null", "{}") for one without."""


def create(engine: Engine, exchange: Exchange) -> Reply:
    """POST /containers/create."""
    body = {key.lower(): (key, value) for key, value in exchange.json().items()}
    _, host_document = body.pop("hostconfig", ("", None))
    if "runtime" in body:  # where docker-py says it
        host_document = {"Runtime": body.pop("runtime")[1], **(host_document or {})}
    _, networking_document = body.pop("networkingconfig", ("", None))
    config, unknown = from_wire(ContainerConfig, dict(body.values()))
    host_config, unknown_host = from_wire(HostConfig, host_document, "HostConfig")
    networking, unknown_networking = from_wire(NetworkingConfig, networking_document, "NetworkingConfig")
    names = unknown + unknown_host + unknown_networking
    warnings = [f"The field {name} is not known to this engine and has no effect." for name in names]
    query = exchange.query
    created = creation.create(
        engine, config, host_config, networking, query.text("name"), query.text("platform"), warnings
    )
    return json_reply(to_wire(created), 201)


def list_all(engine: Engine, exchange: Exchange) -> Reply:
    """GET /containers/json: `docker ps`. The parameters `since` and `before` are Docker 0.10's filters."""
    query = exchange.query
    filters = query.filters()
    for name in ("since", "before"):
        if query.text(name):
            filters.setdefault(name, []).append(query.text(name))
    limit = query.integer("limit", 0) or -1
    found = listing.summaries(engine, query.boolean("all"), limit, query.boolean("size"), filters)
    return json_reply(to_wire(found))


def inspect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /containers/{name}/json."""
    return json_reply(to_wire(inspection.inspect(engine, name, exchange.query.boolean("size"))))


def start(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/start; `explain=1` (our own) answers the trace records as lines."""
    _refuse_start_options(exchange)
    if exchange.query.boolean("explain"):
        return _start_explained(engine, exchange, name)
    lifecycle.start(engine, name)
    return no_content()


def stop(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/stop."""
    lifecycle.stop(engine, name, exchange.query.integer("t"), exchange.query.text("signal"))
    return no_content()


def restart(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/restart."""
    lifecycle.restart(engine, name, exchange.query.integer("t"), exchange.query.text("signal"))
    return no_content()


def kill(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/kill."""
    try:
        lifecycle.kill(engine, name, exchange.query.text("signal") or "KILL")
    except NotFound as error:
        raise NotFound(f"cannot kill container: {name}: {error}") from None
    return no_content()


def pause(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/pause."""
    lifecycle.pause(engine, name)
    return no_content()


def unpause(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/unpause."""
    lifecycle.unpause(engine, name)
    return no_content()


def rename(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/rename."""
    containers.rename(engine, name, exchange.query.text("name"))
    return no_content()


def remove(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """DELETE /containers/{name}."""
    query = exchange.query
    lifecycle.remove(engine, name, query.boolean("force"), query.boolean("v"), query.boolean("link"))
    return no_content()


def prune_stopped(engine: Engine, exchange: Exchange) -> Reply:
    """POST /containers/prune."""
    return json_reply(to_wire(prune.prune_containers(engine, exchange.query.filters())))


def resize(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/resize: `h` rows, `w` columns."""
    rows, columns = exchange.query.integer("h"), exchange.query.integer("w")
    if rows is None or columns is None:
        raise InvalidParameter("invalid resize: both h (rows) and w (columns) are needed")
    lifecycle.resize(engine, name, rows, columns)
    return no_content(200)


def top(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /containers/{name}/top."""
    return json_reply(to_wire(processes.top(engine, name, exchange.query.text("ps_args"))))


def update(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /containers/{name}/update."""
    wanted, unknown = from_wire(HostConfig, exchange.json())
    warnings = [f"The field {field} is not known to this engine and has no effect." for field in unknown]
    return json_reply({"Warnings": [*warnings, *updating.update(engine, name, wanted)]})


def wait(engine: Engine, exchange: Exchange, name: str) -> None:
    """POST /containers/{name}/wait: the headers go out at once: `docker run` sends start only then."""
    with (
        waiting.wait(engine, name, exchange.query.text("condition")) as waiter,
        exchange.stream(JSON) as stream,
    ):
        exchange.watch(waiter.fileno())
        result = waiter.result()
        document: dict[str, Any] = {"StatusCode": result.status_code}
        if result.error:
            document["Error"] = {"Message": result.error}
        stream.write(msgspec.json.encode(document) + b"\n")


def _refuse_start_options(exchange: Exchange) -> None:
    if exchange.query.text("checkpoint"):
        raise Unsupported("checkpoint is not part of minidock")
    length = exchange.head.headers.get("content-length", "")
    small = length.isdecimal() and int(length) <= EMPTY_BODY_LIMIT
    if exchange.has_body() and not small and exchange.json(required=False):
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )


def _start_explained(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """Start with a trace pipe. The start is over before the pipe is read: it must hold all records."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, TRACE_PIPE_SIZE)
        try:
            lifecycle.start(engine, name, trace=writer)
        except MinidockError as error:
            reply = error_reply(error, exchange.version)
            return Reply(reply.status, _records(reader) + reply.body, TRACE_TYPE)
        return Reply(200, _records(reader), TRACE_TYPE)
    finally:
        os.close(reader)
        os.close(writer)


def _records(reader: int) -> bytes:
    pieces = []
    try:
        while piece := os.read(reader, TRACE_PIPE_SIZE):
            pieces.append(piece)
    except BlockingIOError:
        pass
    return b"".join(pieces)
