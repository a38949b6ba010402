"""Routes of images: list, inspect, name, remove, save, load, import and prune."""

import contextlib
from typing import Any, BinaryIO, cast

from minidock.api import pull
from minidock.api.exchange import ApiVersion, Exchange, Reply, Stream, json_reply, no_content
from minidock.api.lists import answer_list
from minidock.api.progress import progress
from minidock.api.wire import to_wire
from minidock.engine import image_diff, image_views, images, prune
from minidock.engine.engine import Engine
from minidock.errors import InvalidParameter, Unsupported
from minidock.formats.image import host_platform, parse_platform

EMPTY_TAGS_SINCE: ApiVersion = (1, 43)
VIRTUAL_SIZE_UNTIL: ApiVersion = (1, 43)
CONTAINER_CONFIG_UNTIL: ApiVersion = (1, 44)
DRAIN_SIZE = 1 << 17


def list_all(engine: Engine, exchange: Exchange) -> Reply:
    """GET /images/json: `docker images`. `filter` is Docker 0.10's form of the reference filter."""
    query = exchange.query
    filters = query.filters()
    if query.text("filter"):
        filters.setdefault("reference", []).append(query.text("filter"))
    found = image_views.summaries(engine, query.boolean("all"), filters, query.boolean("shared-size"))
    documents = to_wire(found)
    for document in documents:
        _add_old_fields(document, exchange.version)
        if not document["RepoTags"] and exchange.version < EMPTY_TAGS_SINCE:
            document["RepoTags"] = ["<none>:<none>"]
            document["RepoDigests"] = document["RepoDigests"] or ["<none>@<none>"]
    return json_reply(documents)


def inspect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /images/{name}/json."""
    document = to_wire(image_views.inspect(engine, name))
    _add_old_fields(document, exchange.version)
    # docker-compose 1 speaks whatever version we say, and cannot recreate a container without this field.
    compose = exchange.head.headers.get("user-agent", "").startswith("docker-compose/1.")
    if compose or exchange.version <= CONTAINER_CONFIG_UNTIL:
        made_by = engine.images.image(document["Id"]).config.container
        container = engine.containers.get(made_by)
        document["Container"] = made_by
        document["ContainerConfig"] = to_wire(container.record.config) if container else document["Config"]
    return json_reply(document)


def history(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /images/{name}/history."""
    return json_reply(to_wire(image_views.history(engine, name)))


def changes(engine: Engine, exchange: Exchange, name: str) -> Reply | None:
    """GET /images/{name}/changes?to=: what makes image `to` of this one. Ours alone: Docker has no such
    question."""
    other = exchange.query.text("to")
    if not other:
        raise InvalidParameter("the image to compare with (to) is missing")
    with contextlib.closing(image_diff.difference(engine, name, other)) as found:
        return answer_list(exchange, found, if_empty=[])


def tag(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /images/{name}/tag."""
    repository = exchange.query.text("repo")
    if not repository:
        raise InvalidParameter("invalid reference format: the repository name (repo) is missing")
    images.tag(engine, name, repository, exchange.query.text("tag"))
    return no_content(201)


def remove(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """DELETE /images/{name}."""
    query = exchange.query
    return json_reply(
        to_wire(images.remove(engine, name, query.boolean("force"), not query.boolean("noprune")))
    )


def load(engine: Engine, exchange: Exchange) -> None:
    """POST /images/load: a tar as `docker save` writes it, streamed from the client."""
    body = cast(BinaryIO, exchange.body())
    with progress(exchange, errors_as_messages=True) as messages:
        lines: list[str] = []
        is_quiet = exchange.query.boolean("quiet", True)
        images.load(engine, body, lines.append, None if is_quiet else messages.bar("Loading layer"))
        _drain(body)
        for line in lines:
            messages.send({"stream": line})


class _Archive:
    """The answer to a save: it begins with the first byte, until which an error can still have a status."""

    def __init__(self, exchange: Exchange, stack: contextlib.ExitStack) -> None:
        self._exchange = exchange
        self._stack = stack
        self._stream: Stream | None = None

    def write(self, data: bytes, /) -> None:
        if self._stream is None:
            self._stream = self._stack.enter_context(self._exchange.stream("application/x-tar"))
        self._stream.write(data)


def save(engine: Engine, exchange: Exchange, name: str = "") -> None:
    """GET /images/get?names= and GET /images/{name}/get: a tar of one or more images."""
    _refuse_other_platform(exchange)
    names = [name] if name else exchange.query.texts("names")
    with contextlib.ExitStack() as stack:
        images.save(engine, names, _Archive(exchange, stack))


def prune_unused(engine: Engine, exchange: Exchange) -> Reply:
    """POST /images/prune."""
    return json_reply(to_wire(prune.prune_images(engine, exchange.query.filters())))


def prune_builds(engine: Engine, exchange: Exchange) -> Reply:
    """POST /build/prune: nothing, for what builds keep are images, and these are pruned as such."""
    engine.events.publish("builder", "prune", "", {"reclaimed": "0"})
    return json_reply({"CachesDeleted": None, "SpaceReclaimed": 0})


def create(engine: Engine, exchange: Exchange) -> None:
    """POST /images/create: `docker pull` (fromImage) or `docker import` (fromSrc)."""
    query = exchange.query
    if query.text("fromImage"):
        pull.pull(engine, exchange, query.text("fromImage"), query.text("tag"))
    elif query.text("fromSrc"):
        _import(engine, exchange)
    else:
        raise InvalidParameter("nothing to create an image from: give fromImage or fromSrc")


def _import(engine: Engine, exchange: Exchange) -> None:
    _refuse_other_platform(exchange)
    query = exchange.query
    source = query.text("fromSrc")
    about = (query.text("repo"), query.text("tag"), query.text("message"), query.texts("changes"))
    with progress(exchange) as messages:
        if source == "-":
            body = cast(BinaryIO, exchange.body())
            identifier = images.import_root(engine, body, *about)
            _drain(body)
        else:
            reports = (lambda line: messages.send({"status": line}), messages.bar("Importing"))
            identifier = images.import_url(engine, source, reports, *about)
        messages.send({"status": identifier})


def _refuse_other_platform(exchange: Exchange) -> None:
    """Refuse a `platform` that is not this machine's."""
    text = exchange.query.text("platform")
    if not text:
        return
    host, wanted = host_platform(), parse_platform(text)
    if (wanted.os, wanted.architecture) != (host.os, host.architecture):
        raise Unsupported(
            f"images are kept for {host.os}/{host.architecture} only, "
            f"not for {wanted.os}/{wanted.architecture}"
        )


def _add_old_fields(document: dict[str, Any], version: ApiVersion) -> None:
    if version <= VIRTUAL_SIZE_UNTIL:
        document["VirtualSize"] = document["Size"]


def _drain(body: BinaryIO) -> None:
    """Read the padding after an archive's end: answering a client that still sends would break its pipe."""
    while body.read(DRAIN_SIZE):
        pass
