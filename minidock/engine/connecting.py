"""connect and disconnect: a container joins or leaves a network, also while it runs.

A running container's namespace is found by its process. What the network change means for its default route
and its published ports follows from which endpoint is the main one afterwards. The sentences are moby's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import endpoints, name_service, network_validation, networking, publishing, records
from minidock.engine.containers import Container, find
from minidock.engine.model import Endpoint, EndpointConfig, NetworkingConfig
from minidock.engine.network_model import NetworkRecord
from minidock.errors import Forbidden, MinidockError, NotFound
from minidock.kernel.trace import Trace
from minidock.network import endpoint
from minidock.network.endpoint import Route

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

# What was asked of each network, by its name.
Given = dict[str, EndpointConfig | None]


def connect(engine: Engine, network: str, reference: str, asked: EndpointConfig) -> None:
    """Let a container join a network; Forbidden when it is in it, or shares somebody else's network."""
    record = engine.networks.find(network)
    container = find(engine, reference)
    network_validation.check_endpoint(record.name, asked)
    with container.lock:
        _require_own_network(container, record)
        if _key(container, record) is not None:
            raise Forbidden(f"endpoint with name {container.name} already exists in network {record.name}")
        given = dict(container.record.networking.endpoints_config or {})
        if not endpoints.is_bridged(record):
            given = {}
        given = {name: value for name, value in given.items() if name != "none"} | {record.name: asked}
        if container.is_running and endpoints.is_bridged(record):
            _join(engine, container, record, given)
        _keep(container, given)
        _rewrite_names(engine, container)
    endpoints.publish_event(engine, container, record.id, "connect")


def disconnect(engine: Engine, network: str, reference: str, force: bool = False) -> None:
    """Let a container leave a network; Forbidden when it is not in it. `force` forgives a missing one."""
    record = engine.networks.find(network)
    try:
        container = find(engine, reference)
    except NotFound:
        if force:
            return
        raise
    with container.lock:
        key = _key(container, record)
        if container.record.host_config.network_mode == "host":
            raise Forbidden("container cannot be disconnected from host network or connected to host network")
        if key is None:
            raise Forbidden(f"container {container.id} is not connected to network {record.name}")
        made = container.state.endpoints.get(record.id)
        if made is not None:
            _leave(engine, container, made)
        given = container.record.networking.endpoints_config or {}
        _keep(container, {name: asked for name, asked in given.items() if name != key})
        _rewrite_names(engine, container)
    endpoints.publish_event(engine, container, record.id, "disconnect")


def _rewrite_names(engine: Engine, container: Container) -> None:
    """Write the names files of a running container for the endpoints it has now, and answer its queries."""
    if not container.is_running:
        return
    networking.write_names(engine, container)
    with ExitStack() as undo:
        descriptor = endpoints.running_namespace(container, undo)
        name_service.open_zone(engine, container, descriptor, container.state.endpoints, ExitStack())


def _join(engine: Engine, container: Container, record: NetworkRecord, given: Given) -> None:
    present, asked = container.state.endpoints, given[record.name] or EndpointConfig()
    with ExitStack() as undo:
        failed = undo.enter_context(ExitStack())
        descriptor = endpoints.running_namespace(container, undo)
        made = endpoints.reserve(engine, record, asked, present.values(), failed)
        endpoints.plug(engine, container, record, asked, made, descriptor, [])
        failed.callback(endpoint.unplug, made.link)
        after = endpoints.in_order(engine, given, {**present, record.id: made})
        _reroute(descriptor, after)
        _republish(engine, container, after, failed)
        failed.pop_all()


def _leave(engine: Engine, container: Container, made: Endpoint) -> None:
    rest = {key: other for key, other in container.state.endpoints.items() if other is not made}
    given = container.record.networking.endpoints_config or {}
    after = endpoints.in_order(engine, given, rest)
    with ExitStack() as undo:
        failed = undo.enter_context(ExitStack())
        descriptor = endpoints.running_namespace(container, undo)
        try:
            endpoint.unplug(made.link)
        except OSError as error:
            raise MinidockError(f"cannot remove the link {made.link}: {error}") from error
        _reroute(descriptor, after)
        _republish(engine, container, after, failed)
        failed.pop_all()
    endpoints.forget_connections(made)
    endpoints.give_back(engine, [made])


def _reroute(descriptor: int, after: dict[str, Endpoint]) -> None:
    main = publishing.main_endpoint(after)
    routes = [] if main is None else [main.gateway, main.ipv6_gateway]
    endpoint.set_default_routes(
        descriptor, [Route(gateway, main.interface) for gateway in routes if gateway and main is not None]
    )


def _republish(engine: Engine, container: Container, after: dict[str, Endpoint], failed: ExitStack) -> None:
    """Record the endpoints; lead the published ports to the main one, if that is another than before."""
    before = publishing.main_endpoint(container.state.endpoints)
    main = publishing.main_endpoint(after)
    if (before and before.endpoint_id) == (main and main.endpoint_id):
        container.change(endpoints=after)
        return
    engine.networks.firewall.unpublish(publishing.published(container))
    if container.shim is not None and container.state.ports:
        container.shim.unpublish()
    container.change(ports={})
    with ExitStack() as undo:
        bound: list[publishing.Bound] = []
        if main is not None:
            bound = publishing.publish(engine, container, main, failed, undo, Trace(None))
            if container.shim is not None:
                publishing.hand_over(container.shim, bound)
        container.change(endpoints=after, ports=publishing.bindings(bound))


def _require_own_network(container: Container, record: NetworkRecord) -> None:
    mode = container.record.host_config.network_mode
    if mode.startswith("container:") or mode == "host":
        raise Forbidden(network_validation.SHARED)
    if record.name == "host":
        raise Forbidden("container cannot be disconnected from host network or connected to host network")
    if record.name == "none" and container.state.endpoints:
        raise Forbidden(network_validation.NO_NETWORK)


def _key(container: Container, record: NetworkRecord) -> str | None:
    given = container.record.networking.endpoints_config or {}
    return next((name for name in given if name in (record.name, record.id)), None)


def _keep(container: Container, given: Given) -> None:
    networking = NetworkingConfig(endpoints_config=given)
    record = msgspec.structs.replace(container.record, networking=networking)
    records.write_config(container.directory, record)
    container.record = record
