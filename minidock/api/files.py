"""Routes of a container's files: cp (archive), diff (changes), export, commit."""

import base64
import contextlib
from typing import BinaryIO, cast

import msgspec

from minidock.api.exchange import Exchange, Reply, json_reply
from minidock.api.lists import answer_list
from minidock.api.wire import from_wire
from minidock.engine import commit as committing
from minidock.engine import diff, files
from minidock.engine import export as exporting
from minidock.engine.engine import Engine
from minidock.engine.model import ContainerConfig
from minidock.storage.compression import decompressed

TAR = "application/x-tar"
STAT_HEADER = "X-Docker-Container-Path-Stat"
DRAIN_SIZE = 1 << 17


def stat(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """HEAD /containers/{name}/archive."""
    found = files.stat_path(engine, name, exchange.query.text("path"))
    return Reply(200, headers=(_stat_header(found),))


def read(engine: Engine, exchange: Exchange, name: str) -> None:
    """GET /containers/{name}/archive: a tar of the path, and what it is in a header."""
    with (
        files.read(engine, name, exchange.query.text("path")) as (found, pieces),
        exchange.stream(TAR, headers=(_stat_header(found),)) as stream,
    ):
        for piece in pieces:
            stream.write(piece)


def write(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """PUT /containers/{name}/archive: a tar in any compression, extracted into the path."""
    query = exchange.query
    manners = files.Manners(query.boolean("noOverwriteDirNonDir"), query.boolean("copyUIDGID"))
    body = cast(BinaryIO, exchange.body())
    files.write(engine, name, query.text("path"), decompressed(body)[0], manners)
    while body.read(DRAIN_SIZE):
        pass  # the padding after the archive's end: answering a client that still sends would break its pipe
    return Reply(200)


def changes(engine: Engine, exchange: Exchange, name: str) -> Reply | None:
    """GET /containers/{name}/changes."""
    with contextlib.closing(diff.changes(engine, name)) as found:
        return answer_list(exchange, found, if_empty=None)


def export(engine: Engine, exchange: Exchange, name: str) -> None:
    """GET /containers/{name}/export."""
    with exporting.export(engine, name) as pieces, exchange.stream("application/octet-stream") as stream:
        for piece in pieces:
            stream.write(piece)


def commit(engine: Engine, exchange: Exchange) -> Reply:
    """POST /commit."""
    query = exchange.query
    config, _ = from_wire(ContainerConfig, exchange.json(required=False))
    wanted = committing.Wanted(
        repository=query.text("repo"),
        tag=query.text("tag"),
        author=query.text("author"),
        comment=query.text("comment"),
        pause=query.boolean("pause", True),
        changes=[line for text in query.texts("changes") for line in text.splitlines()],
        config=config,
    )
    return json_reply({"Id": committing.commit(engine, query.text("container"), wanted)}, 201)


def _stat_header(found: files.PathStat) -> tuple[str, str]:
    document = {
        "name": found.name,
        "size": found.size,
        "mode": found.mode,
        "mtime": found.mtime,
        "linkTarget": found.link_target,
    }
    return STAT_HEADER, base64.b64encode(msgspec.json.encode(document)).decode()
