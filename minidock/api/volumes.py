"""Routes of volumes."""

import msgspec

from minidock.api.exchange import ApiVersion, Exchange, Reply, json_reply, no_content
from minidock.api.wire import from_wire, to_wire
from minidock.engine import volumes
from minidock.engine.engine import Engine

ANONYMOUS_ONLY_SINCE: ApiVersion = (1, 42)


class CreateRequest(msgspec.Struct, kw_only=True):
    """The body of POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, object] | None = None


def create(engine: Engine, exchange: Exchange) -> Reply:
    """POST /volumes/create."""
    wanted, _ = from_wire(CreateRequest, exchange.json())
    made = volumes.create(engine, wanted.name, wanted.driver, wanted.driver_opts, wanted.labels)
    return json_reply(to_wire(made), 201)


def list_all(engine: Engine, exchange: Exchange) -> Reply:
    """GET /volumes."""
    return json_reply(to_wire(volumes.listed(engine, exchange.query.filters())))


def inspect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /volumes/{name}."""
    return json_reply(to_wire(volumes.inspect(engine, name)))


def remove(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """DELETE /volumes/{name}."""
    volumes.remove(engine, name, exchange.query.boolean("force"))
    return no_content()


def prune(engine: Engine, exchange: Exchange) -> Reply:
    """POST /volumes/prune: since API 1.42 of the anonymous ones only, unless `all` is asked for."""
    everything = exchange.version < ANONYMOUS_ONLY_SINCE
    return json_reply(to_wire(volumes.prune(engine, exchange.query.filters(), everything)))
