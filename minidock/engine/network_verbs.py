"""Docker's verbs for networks: create, list, inspect, remove, prune; joining and leaving are `connecting`'s.

The sentences are moby's. Docker Engine API v1.50, "Networks".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from minidock import ids
from minidock.engine import image_filters, network_options, network_validation, times
from minidock.engine.containers import Container
from minidock.engine.events import has_label
from minidock.engine.network_model import (
    ConfigReference,
    Ipam,
    NetworkCreated,
    NetworkInspection,
    NetworkMember,
    NetworkRecord,
    NetworkRequest,
)
from minidock.engine.networks import PREDEFINED
from minidock.errors import Forbidden, InvalidParameter, NotFound, Unsupported

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Filters = Mapping[str, Sequence[str]]
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_FILTERS = {"name", "id", "driver", "label", "type", "scope", "dangling"}
_ELSEWHERE = {"macvlan", "ipvlan", "overlay"}


def create(engine: Engine, request: NetworkRequest) -> NetworkCreated:
    """Create a bridge network; Conflict for a name in use, Forbidden, InvalidParameter, Unsupported."""
    _check(request)
    identifier = ids.random_id()
    options = dict(request.options or {})
    record = NetworkRecord(
        id=identifier,
        name=request.name,
        created=times.now(),
        bridge=options.get(network_options.NAME, "") or f"br-{ids.short(identifier)}",
        enable_ipv6=bool(request.enable_ipv6),
        ipam=request.ipam or Ipam(),
        internal=request.internal,
        attachable=request.attachable,
        options=options,
        labels=request.labels or {},
    )
    record.ipam.driver = record.ipam.driver or "default"
    engine.networks.add(record)
    engine.events.publish("network", "create", identifier, {"name": record.name, "type": record.driver})
    return NetworkCreated(id=identifier)


def remove(engine: Engine, reference: str) -> None:
    """Remove a network that no running container is in."""
    record = engine.networks.find(reference)
    if record.name in PREDEFINED:
        raise Forbidden(f"{record.name} is a pre-defined network and cannot be removed")
    with engine.networks.lock:
        members = sorted(container.name for container in running_members(engine, record))
        if members:
            raise Forbidden(
                f"error while removing network: network {record.name} has active endpoints "
                f"({', '.join(members)})"
            )
        engine.networks.discard(record)
    engine.events.publish("network", "destroy", record.id, {"name": record.name, "type": record.driver})


def prune(engine: Engine, filters: Filters) -> list[str]:
    """Remove every network of the user that no container, running or not, is in; return their names."""
    for name in filters:
        if name not in ("label", "label!", "until"):
            raise InvalidParameter(f"invalid filter '{name}'")
    limit = image_filters.until_ns(filters["until"]) if filters.get("until") else None
    removed = []
    for record in engine.networks.records():
        kept = (
            record.name in PREDEFINED
            or members(engine, record)
            or not all(has_label(record.labels, value) for value in filters.get("label", ()))
            or any(has_label(record.labels, value) for value in filters.get("label!", ()))
            or (limit is not None and times.to_ns(record.created) > limit)
        )
        if not kept:
            remove(engine, record.id)
            removed.append(record.name)
    engine.events.publish("network", "prune", "", {"reclaimed": "0"})
    return removed


def inspect(engine: Engine, reference: str) -> NetworkInspection:
    """Return what `docker network inspect` shows."""
    record = engine.networks.find(reference)
    if record.name == "bridge":
        record = engine.networks.with_subnets(record, with_link=False)
    return view(engine, record)


def list_all(engine: Engine, filters: Filters) -> list[NetworkInspection]:
    """Return the networks that pass the filters, without their containers."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{name}'")
    tests = [_TESTS[name](engine, values) for name, values in filters.items() if values]
    found = [record for record in engine.networks.records() if all(test(record) for test in tests)]
    return [msgspec.structs.replace(view(engine, record), containers={}) for record in found]


def view(engine: Engine, record: NetworkRecord) -> NetworkInspection:
    """Return Docker's view of a network."""
    return NetworkInspection(
        name=record.name,
        id=record.id,
        created=record.created,
        scope="local",
        driver=record.driver,
        enable_ipv4=True,
        enable_ipv6=record.enable_ipv6,
        ipam=record.ipam if record.ipam.config else msgspec.structs.replace(record.ipam, config=[]),
        internal=record.internal,
        attachable=record.attachable,
        ingress=False,
        config_from=ConfigReference(),
        config_only=False,
        containers={one.id: _member(one, record) for one in running_members(engine, record)},
        options=_default_options(record) if record.name == "bridge" else record.options,
        labels=record.labels,
    )


def running_members(engine: Engine, record: NetworkRecord) -> list[Container]:
    """Return the containers that have an endpoint in the network now."""
    return [one for one in list(engine.containers.values()) if record.id in one.state.endpoints]


def members(engine: Engine, record: NetworkRecord) -> list[Container]:
    """Return the containers that are in the network or will be when they start."""
    names = {record.id, record.name}
    return [
        one
        for one in list(engine.containers.values())
        if record.id in one.state.endpoints or names & set(one.record.networking.endpoints_config or ())
    ]


def _member(container: Container, record: NetworkRecord) -> NetworkMember:
    made = container.state.endpoints.get(record.id)
    if made is None:  # it has left in this moment
        return NetworkMember(
            name=container.name, endpoint_id="", mac_address="", ipv4_address="", ipv6_address=""
        )
    return NetworkMember(
        name=container.name,
        endpoint_id=made.endpoint_id,
        mac_address=made.mac_address,
        ipv4_address=f"{made.ip_address}/{made.ip_prefix_len}" if made.ip_address else "",
        ipv6_address=f"{made.ipv6_address}/{made.ipv6_prefix_len}" if made.ipv6_address else "",
    )


def _default_options(record: NetworkRecord) -> dict[str, str]:
    if record.bridge == "none":
        return {}
    return {
        "com.docker.network.bridge.default_bridge": "true",
        network_options.ICC: "true",
        network_options.MASQUERADE: "true",
        network_options.HOST_ADDRESS: "0.0.0.0",
        network_options.NAME: record.bridge,
        network_options.MTU: "1500",
    }


def _check(request: NetworkRequest) -> None:
    if not request.name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if request.name in (*PREDEFINED, "default"):
        raise Forbidden(f"operation is not permitted on predefined {request.name} network")
    if not _NAME.fullmatch(request.name):
        raise InvalidParameter(
            f'"{request.name}" includes invalid characters for a network name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed'
        )
    driver = request.driver or "bridge"
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver in _ELSEWHERE:
        raise Unsupported(f'network driver "{driver}" is not supported (bridge is)')
    if driver != "bridge":
        raise NotFound(f'could not find plugin {driver} in v1 plugin registry: plugin "{driver}" not found')
    if request.ingress or request.config_only or request.config_from not in (None, ConfigReference()):
        raise Unsupported("swarm networks (ingress, config-only, config-from) are not part of minidock")
    if request.enable_ipv4 is False:
        raise Unsupported("networks without IPv4 are not supported")
    if request.scope not in ("", "local"):
        raise Unsupported(f"network scope {request.scope} is not supported (local is)")
    network_options.check(request.options or {})
    if request.ipam is not None:
        network_validation.check_ipam(request.ipam)


Test = Callable[[NetworkRecord], bool]


def _by_use(engine: Engine, values: Sequence[str]) -> Test:
    if any(value.lower() not in ("true", "false", "1", "0") for value in values):
        raise InvalidParameter(f"invalid value for filter 'dangling': {values[0]}")
    wanted = values[0].lower() in ("true", "1")
    return lambda one: (one.name not in PREDEFINED and not running_members(engine, one)) == wanted


def _by_type(_engine: Engine, values: Sequence[str]) -> Test:
    for value in values:
        if value not in ("custom", "builtin"):
            raise InvalidParameter(f"invalid filter: 'type'='{value}'")
    return lambda one: ("builtin" if one.name in PREDEFINED else "custom") in values


_TESTS: Mapping[str, Callable[[Engine, Sequence[str]], Test]] = {
    "name": lambda _engine, values: lambda one: any(value in one.name for value in values),
    "id": lambda _engine, values: lambda one: any(one.id.startswith(value) for value in values),
    "driver": lambda _engine, values: lambda one: one.driver in values,
    "scope": lambda _engine, values: lambda one: "local" in values,
    "label": lambda _engine, values: lambda one: all(has_label(one.labels, value) for value in values),
    "type": _by_type,
    "dangling": _by_use,
}
