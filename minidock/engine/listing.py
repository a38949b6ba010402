"""ps: the containers as lines of a table, newest first, and the filters that choose among them.

Different filters must all fit; of several values of one filter one must fit, except labels, which must all
fit. Source: Docker Engine API v1.50, GET /containers/json.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from minidock.engine import endpoints, inspection, links, publishing, times
from minidock.engine.containers import Container, find
from minidock.engine.events import has_label
from minidock.engine.model import RunState
from minidock.engine.views import ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings
from minidock.errors import InvalidParameter, MinidockError, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Filters = Mapping[str, Sequence[str]]
STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTHS = ("none", "starting", "healthy", "unhealthy")
KNOWN = frozenset(
    [
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "isolation",
        "is-task",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ]
)


def summaries(
    engine: Engine,
    show_all: bool = False,
    limit: int = -1,
    size: bool = False,
    filters: Filters | None = None,
) -> list[ContainerSummary]:
    """Return ps's lines, newest first: those that run, with `show_all` every one, or the last `limit`.

    InvalidParameter for an unknown filter or a value that cannot be.
    """
    wanted = {name: values for name, values in (filters or {}).items() if values}
    for name in wanted:
        if name not in KNOWN:
            raise InvalidParameter(f"invalid filter '{name}'")
    tests = [_TESTS[name](engine, values) for name, values in wanted.items()]
    show_all = show_all or limit > 0 or "status" in wanted
    linked = links.names(engine)
    found: list[ContainerSummary] = []
    meaning = functools.cache(functools.partial(_meaning, engine))  # asked once for a thousand containers
    for container in newest_first(engine):
        if 0 < limit <= len(found):
            break
        if (show_all or container.is_up) and all(test(container) for test in tests):
            names = linked.get(container.id, [])
            found.append(_summary(engine, container, size, names, _image_name(container, meaning)))
    return found


def newest_first(engine: Engine) -> list[Container]:
    """Return the containers, the one created last first."""
    present = list(engine.containers.values())
    return sorted(present, key=lambda container: times.to_ns(container.record.created), reverse=True)


def status_words(state: RunState, now: float, health: str = "") -> str:
    """Return ps's STATUS: "Up 3 minutes (Paused)", "Up 5 seconds (healthy)", "Exited (0) 2 hours ago"."""
    if state.status in ("running", "paused"):
        since = times.human(now - times.to_ns(state.started_at) / 1e9)
        words = (
            "Paused" if state.status == "paused" else "health: starting" if health == "starting" else health
        )
        return f"Up {since}" + (f" ({words})" if words else "")
    if state.status == "restarting":
        since = times.human(now - times.to_ns(state.finished_at) / 1e9)
        return f"Restarting ({state.exit_code}) {since} ago"
    if state.status == "exited":
        since = times.human(now - times.to_ns(state.finished_at) / 1e9)
        return f"Exited ({state.exit_code}) {since} ago"
    return {"created": "Created", "dead": "Dead"}.get(state.status, "Removal In Progress")


def _summary(
    engine: Engine, container: Container, size: bool, linked: list[str], image: str
) -> ContainerSummary:
    record = container.record
    size_rw, size_root = inspection.sizes(engine, container) if size else (None, None)
    return ContainerSummary(
        id=record.id,
        names=sorted([f"/{record.name}", *linked]),
        image=image,
        image_id=record.image,
        command=" ".join(_quoted(word) for word in (record.path, *record.args)),
        created=times.to_ns(record.created) // 1_000_000_000,
        ports=_ports(container),
        size_rw=size_rw,
        size_root_fs=size_root,
        labels=record.config.labels or {},
        state=inspection.state(container.state).status,
        status=status_words(container.state, time.time(), _health(container)),
        host_config=SummaryHostConfig(
            network_mode=record.host_config.network_mode, annotations=record.host_config.annotations
        ),
        network_settings=SummaryNetworkSettings(networks=endpoints.views(engine, container)),
        mounts=inspection.mount_points(container),
    )


def _image_name(container: Container, meaning: Callable[[str], str]) -> str:
    """Return the name it was created by while that still means the same image, else the image's id."""
    record = container.record
    return record.image_name if meaning(record.image_name) == record.image else record.image


def _meaning(engine: Engine, image_name: str) -> str:
    """Return the id of the image that a name means now, "" for none."""
    try:
        return engine.images.resolve(image_name).id
    except MinidockError:
        return ""


def _health(container: Container) -> str:
    """Return what the health check says, "" where none runs."""
    return container.health.state.status if container.health and container.is_running else ""


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def _ports(container: Container) -> list[Port]:
    if not container.is_running:
        return []
    found = [
        Port(ip=binding.host_ip, private_port=number, public_port=int(binding.host_port), type=protocol)
        for key, bindings in container.state.ports.items()
        for number, protocol in publishing.port_numbers(key)
        for binding in bindings
    ]
    published = {(port.private_port, port.type) for port in found}
    for key in container.record.config.exposed_ports or ():
        found += [
            Port(private_port=number, type=protocol)
            for number, protocol in publishing.port_numbers(key)
            if (number, protocol) not in published
        ]
    return found


Test = Callable[[Container], bool]


def _by_ancestor(engine: Engine, values: Sequence[str]) -> Test:
    wanted, layers = set(), set()
    for value in values:
        try:
            image = engine.images.resolve(value)
        except MinidockError:
            continue
        wanted.add(image.id)
        layers.add(image.chain_ids)
    return lambda one: one.record.image in wanted or any(_stands_on(one, chain) for chain in layers)


def _stands_on(container: Container, layers: Sequence[str]) -> bool:
    return bool(layers) and container.record.layers[: len(layers)] == list(layers)


def _by_order(engine: Engine, values: Sequence[str], before: bool) -> Test:
    try:
        marks = [times.to_ns(find(engine, value).record.created) for value in values]
    except NotFound as error:
        raise InvalidParameter(str(error)) from error
    if before:
        return lambda one: times.to_ns(one.record.created) < min(marks)
    return lambda one: times.to_ns(one.record.created) > max(marks)


def _by_exit_code(_engine: Engine, values: Sequence[str]) -> Test:
    if not all(value.lstrip("-").isdecimal() for value in values):
        raise InvalidParameter(f"invalid filter 'exited={values[0]}': it is a number")
    codes = {int(value) for value in values}
    return lambda one: one.state.has_been_started and not one.is_up and one.state.exit_code in codes


def _one_of(name: str, what: str, known: Sequence[str], values: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise InvalidParameter(
                f"invalid filter '{name}={value}': invalid value for {what} ({value}): "
                f"must be one of {', '.join(known)}"
            )


def _by_status(_engine: Engine, values: Sequence[str]) -> Test:
    _one_of("status", "state", STATUSES, values)
    return lambda one: one.status in values


def _by_health(_engine: Engine, values: Sequence[str]) -> Test:
    _one_of("health", "health", HEALTHS, values)
    return lambda one: (_health(one) or "none") in values


def _by_name(engine: Engine, values: Sequence[str]) -> Test:
    """Each value is the name, or a regular expression found anywhere in it; with or without its slash."""
    linked = links.names(engine)

    def fits(one: Container) -> bool:
        names = [f"/{one.name}", *linked.get(one.id, [])]
        return any(_finds(value, name) for value in values for name in (*names, *(n[1:] for n in names)))

    return fits


def _finds(pattern: str, text: str) -> bool:
    try:
        return pattern == text or re.search(pattern, text) is not None
    except re.error:
        return False


def _by_network(engine: Engine, values: Sequence[str]) -> Test:
    def fits(one: Container) -> bool:
        return any(
            name in values or any(value and view.network_id.startswith(value) for value in values)
            for name, view in endpoints.views(engine, one).items()
        )

    return fits


def _by_ports(name: str, values: Sequence[str]) -> Test:
    """`publish` asks for the host's side of ports, `expose` for the container's, both of what runs."""
    wanted = {
        (number, protocol) for value in values for number, protocol in _port_numbers(name, value)
    }  # fmt: skip

    def fits(one: Container) -> bool:
        return any(
            (port.public_port if name == "publish" else port.private_port, port.type) in wanted
            for port in _ports(one)
        )

    return fits


def _port_numbers(name: str, value: str) -> list[tuple[int, str]]:
    if ":" in value:
        raise InvalidParameter(f"filter for '{name}' should not contain ':': {value}")
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?", value):
        raise InvalidParameter(f"error while looking up for {name} {value}: invalid port")
    return list(publishing.port_numbers(value))


def _by_mount(_engine: Engine, values: Sequence[str]) -> Test:
    return lambda one: any(
        {point.name or point.source, point.destination} & set(values)
        for point in inspection.mount_points(one)
    )


def _by_task(_engine: Engine, values: Sequence[str]) -> Test:
    """No container is a task of a swarm."""
    given = {value in ("1", "true") for value in values if value in ("0", "1", "false", "true")}
    if len(given) != 1:
        raise InvalidParameter(f"invalid filter 'is-task=[{' '.join(values)}]'")
    return lambda one: given == {False}


_TESTS: Mapping[str, Callable[[Engine, Sequence[str]], Test]] = {
    "ancestor": _by_ancestor,
    "before": lambda engine, values: _by_order(engine, values, before=True),
    "since": lambda engine, values: _by_order(engine, values, before=False),
    "exited": _by_exit_code,
    "status": _by_status,
    "health": _by_health,
    "id": lambda _engine, values: lambda one: any(one.id.startswith(value) for value in values),
    "name": _by_name,
    "label": lambda _engine, values: (
        lambda one: all(has_label(one.record.config.labels or {}, v) for v in values)
    ),
    "network": _by_network,
    "volume": _by_mount,
    "expose": lambda _engine, values: _by_ports("expose", values),
    "publish": lambda _engine, values: _by_ports("publish", values),
    "isolation": lambda _engine, values: lambda one: True,
    "is-task": _by_task,
}
