"""Routes of images: list, inspect, name, remove, load and import."""

from typing import Any, BinaryIO, cast

from minidock.api import pull
from minidock.api.exchange import ApiVersion, Exchange, Reply, json_reply, no_content
from minidock.api.progress import progress
from minidock.api.wire import to_wire
from minidock.engine import image_views, images
from minidock.engine.engine import Engine
from minidock.errors import InvalidParameter, Unsupported

EMPTY_TAGS_SINCE: ApiVersion = (1, 43)
VIRTUAL_SIZE_UNTIL: ApiVersion = (1, 43)
DRAIN_SIZE = 1 << 17


def list_all(engine: Engine, exchange: Exchange) -> Reply:
    """GET /images/json: `docker images`. `filter` is Docker 0.10's form of the reference filter."""
    query = exchange.query
    filters = query.filters()
    if query.text("filter"):
        filters.setdefault("reference", []).append(query.text("filter"))
    documents = to_wire(image_views.summaries(engine, query.boolean("all"), filters))
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
    return json_reply(document)


def history(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /images/{name}/history."""
    return json_reply(to_wire(image_views.history(engine, name)))


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
    with progress(exchange) as messages:
        lines: list[str] = []
        images.load(engine, body, lines.append)
        _drain(body)
        for line in lines:
            messages.send({"stream": line})


def create(engine: Engine, exchange: Exchange) -> None:
    """POST /images/create: `docker pull` (fromImage) or `docker import` (fromSrc)."""
    query = exchange.query
    if query.text("fromImage"):
        pull.pull(engine, exchange, query.text("fromImage"), query.text("tag"))
    elif query.text("fromSrc") == "-":
        _import(engine, exchange)
    elif query.text("fromSrc"):
        raise Unsupported(
            "importing from a URL is not served by this version of minidock yet: use `docker import -`"
        )
    else:
        raise InvalidParameter("nothing to create an image from: give fromImage or fromSrc")


def _import(engine: Engine, exchange: Exchange) -> None:
    query = exchange.query
    body = cast(BinaryIO, exchange.body())
    with progress(exchange) as messages:
        identifier = images.import_root(
            engine, body, query.text("repo"), query.text("tag"), query.text("message"), query.texts("changes")
        )
        _drain(body)
        messages.send({"status": identifier})


def _add_old_fields(document: dict[str, Any], version: ApiVersion) -> None:
    if version <= VIRTUAL_SIZE_UNTIL:
        document["VirtualSize"] = document["Size"]


def _drain(body: BinaryIO) -> None:
    """Read the padding after an archive's end: answering a client that still sends would break its pipe."""
    while body.read(DRAIN_SIZE):
        pass
