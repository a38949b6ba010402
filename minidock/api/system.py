"""Routes about the engine itself: is it there, what is it, what happens in it.

`/_ping` is what every client asks first, and its headers decide how the client talks from then on
(engine-api.md 1).
"""

import time
from typing import Any

from minidock.api import negotiation
from minidock.api.exchange import JSON, PLAIN, Exchange, Reply, json_reply
from minidock.api.wire import to_wire
from minidock.engine import disk_usage as disk
from minidock.engine import info as information
from minidock.engine.engine import Engine
from minidock.engine.views import Event

PING_HEADERS = (
    ("Builder-Version", "1"),
    ("Swarm", "inactive"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
)

# Docker sent `status`, `id` and `from` before it sent `Type`, `Action` and `Actor`; old clients read only
# those.
TYPES_WITH_OLD_KEYS = ("container", "image")


def ping(engine: Engine, exchange: Exchange) -> Reply:
    """GET or HEAD /_ping."""
    return Reply(200, b"OK", PLAIN, PING_HEADERS)


def version(engine: Engine, exchange: Exchange) -> Reply:
    """GET /version."""
    document = to_wire(information.version(engine))
    document["ApiVersion"] = negotiation.spell(negotiation.CURRENT)
    document["MinAPIVersion"] = negotiation.spell(negotiation.MINIMUM)
    for component in document["Components"]:
        if component["Name"] == "Engine":
            component["Details"] |= {key: document[key] for key in ("ApiVersion", "MinAPIVersion")}
    return json_reply(document)


def info(engine: Engine, exchange: Exchange) -> Reply:
    """GET /info."""
    return json_reply(to_wire(information.info(engine)))


def events(engine: Engine, exchange: Exchange) -> None:
    """GET /events: what is remembered since `since`, then what happens until `until` or the client leaves."""
    query = exchange.query
    until_ns = query.time_ns("until")
    subscription = engine.events.subscribe(query.time_ns("since"), until_ns, query.filters())
    with subscription, exchange.stream(JSON) as stream:
        while not subscription.overflowed:
            for event in subscription.take():
                stream.write(_event_line(event))
            left = None if until_ns is None else (until_ns - time.time_ns()) / 1e9
            if left is not None and left <= 0:
                return
            exchange.watch(subscription.fileno(), timeout=left)


def disk_usage(engine: Engine, exchange: Exchange) -> Reply:
    """GET /system/df; `type` may come several times. Kinds that were not asked for are left out."""
    usage = disk.disk_usage(engine, exchange.query.texts("type"))
    return json_reply({key: value for key, value in to_wire(usage).items() if value is not None})


def plugins(engine: Engine, exchange: Exchange) -> Reply:
    """GET /plugins: none, and that is no error (moby's own tests ask before every test)."""
    return json_reply([])


def _event_line(event: Event) -> bytes:
    document: dict[str, Any] = to_wire(event)
    if event.type in TYPES_WITH_OLD_KEYS:
        document |= {"status": event.action, "id": event.actor.id}
        if event.type == "container":
            document["from"] = event.actor.attributes.get("image", "")
    return json_reply(document).body
