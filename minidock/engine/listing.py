"""ps: the containers as lines of a table, newest first, and the filters that choose among them.

Different filters must all fit; of several values of one filter one must fit, except labels, which must all
fit. Source: Docker Engine API v1.50, GET /containers/json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from minidock.engine import endpoints, inspection, publishing, times
from minidock.engine.containers import Container, find
from minidock.engine.events import has_label
from minidock.engine.model import RunState
from minidock.engine.views import ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings
from minidock.errors import InvalidParameter, MinidockError, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Filters = Mapping[str, Sequence[str]]
STATUSES = frozenset(["created", "running", "paused", "restarting", "removing", "exited", "dead"])
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
    show_all = show_all or limit > 0 or bool({"status", "exited"} & set(wanted))
    found: list[ContainerSummary] = []
    for container in newest_first(engine):
        if 0 < limit <= len(found):
            break
        if (show_all or container.is_up) and all(test(container) for test in tests):
            found.append(_summary(engine, container, size))
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


def _summary(engine: Engine, container: Container, size: bool) -> ContainerSummary:
    record = container.record
    size_rw, size_root = inspection.sizes(engine, container) if size else (None, None)
    return ContainerSummary(
        id=record.id,
        names=[f"/{record.name}"],
        image=_image_name(engine, container),
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


def _image_name(engine: Engine, container: Container) -> str:
    """Return the name it was created by while that still means the same image, else the image's id."""
    record = container.record
    try:
        if engine.images.resolve(record.image_name).id == record.image:
            return record.image_name
    except MinidockError:
        pass
    return record.image


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
        raise InvalidParameter(f"invalid filter 'exited={values[0]}'")
    codes = {int(value) for value in values}
    return lambda one: one.state.has_been_started and not one.is_up and one.state.exit_code in codes


def _by_status(_engine: Engine, values: Sequence[str]) -> Test:
    for value in values:
        if value not in STATUSES:
            raise InvalidParameter(f"invalid filter 'status={value}'")
    return lambda one: one.status in values


def _by_health(_engine: Engine, values: Sequence[str]) -> Test:
    for value in values:
        if value not in ("starting", "healthy", "unhealthy", "none"):
            raise InvalidParameter(f"unrecognised filter value for health: {value}")
    return lambda one: (_health(one) or "none") in values


def _by_network(engine: Engine, values: Sequence[str]) -> Test:
    def fits(one: Container) -> bool:
        return any(
            name in values or any(value and view.network_id.startswith(value) for value in values)
            for name, view in endpoints.views(engine, one).items()
        )

    return fits


def _by_ports(values: Sequence[str], published: bool) -> Test:
    wanted = {value if "/" in value else f"{value}/tcp" for value in values}

    def fits(one: Container) -> bool:
        ports = one.record.host_config.port_bindings if published else one.record.config.exposed_ports
        return any((port if "/" in port else f"{port}/tcp") in wanted for port in ports or ())

    return fits


def _by_mount(_engine: Engine, values: Sequence[str]) -> Test:
    return lambda one: any(
        {point.source, point.destination} & set(values) for point in inspection.mount_points(one)
    )


_TESTS: Mapping[str, Callable[[Engine, Sequence[str]], Test]] = {
    "ancestor": _by_ancestor,
    "before": lambda engine, values: _by_order(engine, values, before=True),
    "since": lambda engine, values: _by_order(engine, values, before=False),
    "exited": _by_exit_code,
    "status": _by_status,
    "health": _by_health,
    "id": lambda _engine, values: lambda one: any(one.id.startswith(value) for value in values),
    "name": lambda _engine, values: lambda one: any(value.removeprefix("/") in one.name for value in values),
    "label": lambda _engine, values: (
        lambda one: all(has_label(one.record.config.labels or {}, v) for v in values)
    ),
    "network": _by_network,
    "volume": _by_mount,
    "expose": lambda _engine, values: _by_ports(values, published=False),
    "publish": lambda _engine, values: _by_ports(values, published=True),
    "isolation": lambda _engine, values: lambda one: True,
    "is-task": lambda _engine, values: lambda one: all(value.lower() in ("false", "0") for value in values),
}
