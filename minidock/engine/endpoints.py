"""A container's endpoints: plugged in before its program runs, given back when it has ended.

What a start has taken is in state.json before the container is made, so a daemon that is killed finds it
again. At the end links go with the namespace, that is with the last process and connection in it
(`networking` takes away those that stay).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from minidock import ids
from minidock.engine import network_options, publishing
from minidock.engine.containers import Container, find
from minidock.engine.model import Endpoint, EndpointConfig
from minidock.engine.network_model import NetworkRecord
from minidock.errors import Conflict, InvalidParameter, MinidockError, NotFound
from minidock.kernel import conntrack
from minidock.kernel.trace import Trace
from minidock.network import bridge, endpoint, namespaces
from minidock.network.addresses import Address, Pool, mac_of, parse_address

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)


def namespace(engine: Engine, container: Container, undo: ExitStack, trace: Trace) -> int:
    """Return the descriptor of the network namespace that the container is to run in; -1 is the host's.

    `undo` closes it. A namespace made here has its loopback up and nothing else.
    """
    mode = container.record.host_config.network_mode
    if mode == "host":
        return -1
    if mode.startswith("container:"):
        descriptor = open_namespace(partner(engine, container))
    else:
        with trace.step("make the network namespace", function=f"{namespaces.__name__}:create") as made:
            descriptor = namespaces.create()
            made["inode"] = os.fstat(descriptor).st_ino
    undo.callback(os.close, descriptor)
    return descriptor


def partner(engine: Engine, container: Container) -> Container:
    """Return the container whose network `container` shares; errors in Docker's words."""
    reference = container.record.host_config.network_mode.partition(":")[2]
    try:
        other = find(engine, reference)
    except NotFound as error:
        raise MinidockError(f"joining network namespace of container: {error}") from error
    if other is container:
        raise InvalidParameter("cannot join own network namespace")
    if not other.is_running:
        raise Conflict(
            "cannot join network namespace of a non running container: "
            f"container {other.name} is {other.status}"
        )
    return other


def open_namespace(container: Container) -> int:
    """Return a descriptor of a running container's network namespace."""
    try:
        return os.open(f"/proc/{container.state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict(f"container {container.id} is not running") from error


def running_namespace(container: Container, undo: ExitStack) -> int:
    """Return the descriptor of a running container's network namespace, closed by `undo`."""
    descriptor = open_namespace(container)
    undo.callback(os.close, descriptor)
    return descriptor


def in_order(
    engine: Engine, given: Mapping[str, EndpointConfig | None], made: dict[str, Endpoint]
) -> dict[str, Endpoint]:
    """Return endpoints with the one first that has the default route; `given` is what was asked of each."""

    def rank(identifier: str) -> tuple[int, bool, str]:
        record = engine.networks.find(identifier)
        asked = given.get(record.name) or given.get(record.id) or EndpointConfig()
        return -asked.gw_priority, record.internal, record.name

    return {identifier: made[identifier] for identifier in sorted(made, key=rank)}


def plug_all(
    engine: Engine, container: Container, descriptor: int, failed: ExitStack, trace: Trace
) -> dict[str, Endpoint]:
    """Give the namespace an interface for each network of the container; `failed` takes them back."""
    wanted = container.record.networking.endpoints_config or {}
    found: dict[str, Endpoint] = {}
    networks = [(find_network(engine, name), asked or EndpointConfig()) for name, asked in wanted.items()]
    bridged = [(record, asked) for record, asked in networks if is_bridged(record)]
    # The first of them has the default route, as the older fields of inspect and Docker's order have it.
    bridged.sort(key=lambda pair: (-pair[1].gw_priority, pair[0].internal, pair[0].name))
    leader = next((record.id for record, _ in bridged if not record.internal), "")
    for record, asked in bridged:
        with trace.step("choose an address", function=f"{__name__}:reserve", bridge=record.bridge) as facts:
            made = reserve(engine, record, asked, found.values(), failed)
            facts["addresses"] = [one for one in (made.ip_address, made.ipv6_address) if one]
        gateways = [one for one in (made.gateway, made.ipv6_gateway) if one and record.id == leader]
        pair = {"inside": made.interface, "outside": made.link, "gateways": gateways}
        with trace.step("plug in the interface", function=f"{endpoint.__name__}:plug", **pair):
            plug(engine, container, record, asked, made, descriptor, gateways)
        found[record.id] = made
    return found


def find_network(engine: Engine, reference: str) -> NetworkRecord:
    """Return a network for a start: one that is gone meanwhile is no NotFound, which means another thing."""
    try:
        return engine.networks.find(reference)
    except NotFound as error:
        raise MinidockError(str(error)) from error


def is_bridged(record: NetworkRecord) -> bool:
    """Whether the network has a bridge: not `host`, not `none`, not the default network without one."""
    return record.driver == "bridge" and record.bridge not in ("", "none")


def reserve(
    engine: Engine,
    record: NetworkRecord,
    asked: EndpointConfig,
    others: Collection[Endpoint],
    failed: ExitStack,
) -> Endpoint:
    """Make the network ready and choose the addresses and the interface of an endpoint besides `others`;
    `failed` takes the addresses back.
    """
    networks = engine.networks
    with networks.lock:
        record = networks.with_subnets(record)
        networks.make(record)
        identifier = ids.random_id()
        made = Endpoint(
            network_id=record.id,
            endpoint_id=identifier,
            link=f"veth{identifier[:8]}",
            interface=_interface(record, asked, {one.interface for one in others}),
            mac_address=asked.mac_address,
        )
        wanted = asked.ipam_config
        for pool in networks.pools(record):
            text = "" if wanted is None else wanted.ipv4_address
            if pool.subnet.version == 6:
                text = "" if wanted is None else wanted.ipv6_address
            address = _address(pool, text, made)
            if address is None:
                continue
            failed.callback(_give_back, engine, pool, address)
            gateway = "" if record.internal else str(pool.gateway or "")
            if address.version == 4:
                made.ip_address, made.ip_prefix_len = str(address), pool.subnet.prefixlen
                made.gateway = gateway
            else:
                made.ipv6_address, made.ipv6_prefix_len = str(address), pool.subnet.prefixlen
                made.ipv6_gateway = gateway
        first = made.ip_address or made.ipv6_address
        made.mac_address = made.mac_address or mac_of(parse_address(first))
        return made


def plug(
    engine: Engine,
    container: Container,
    record: NetworkRecord,
    asked: EndpointConfig,
    made: Endpoint,
    descriptor: int,
    gateways: list[str],
) -> None:
    """Make the veth pair of a reserved endpoint; a bridge that somebody has removed is made again, once."""
    addresses = [f"{made.ip_address}/{made.ip_prefix_len}"] if made.ip_address else []
    addresses += [f"{made.ipv6_address}/{made.ipv6_prefix_len}"] if made.ipv6_address else []
    wanted = endpoint.Interface(
        made.interface,
        made.link,
        record.bridge,
        made.mac_address,
        addresses,
        mtu=engine.networks.mtu(record),
        gateways=gateways,
        hairpin=any(True for _ in publishing.wanted(container)),
        isolated=not network_options.is_on(record.options, network_options.ICC) and not bridge.is_filtered(),
        sysctls=network_options.sysctls(asked.driver_opts or {}, made.interface),
    )
    try:
        endpoint.plug(descriptor, wanted)
    except OSError as error:
        if error.filename != record.bridge:
            raise
        engine.networks.make_again(record)
        endpoint.plug(descriptor, wanted)


def forget_connections(made: Endpoint) -> None:
    """Delete the endpoint's tracked connections: the next owner of its address must not inherit them."""
    for address in (made.ip_address, made.ipv6_address):
        try:
            if address:
                conntrack.forget(address)
        except OSError as error:
            log.debug("connections of %s are left to expire: %s", address, error)


def give_back(engine: Engine, endpoints: list[Endpoint]) -> None:
    """Return the addresses of endpoints to their pools."""
    with engine.networks.lock:
        for made in endpoints:
            try:
                pools = engine.networks.pools(engine.networks.find(made.network_id))
            except MinidockError:
                continue  # the network is gone, and its pools with it
            for pool in pools:
                for text in (made.ip_address, made.ipv6_address):
                    if text and parse_address(text) in pool.subnet:
                        pool.release(parse_address(text))


def publish_event(engine: Engine, container: Container, network_id: str, action: str) -> None:
    """Tell who listens that the container has come into a network, or left it."""
    try:
        record = engine.networks.find(network_id)
    except MinidockError:
        return
    attributes = {"container": container.id, "name": record.name, "type": record.driver}
    engine.events.publish("network", action, record.id, attributes)


def views(engine: Engine, container: Container) -> dict[str, EndpointConfig]:
    """Return the container's endpoints by network name, as inspect shows them."""
    found = {}
    for name, asked in (container.record.networking.endpoints_config or {}).items():
        view = msgspec.structs.replace(asked or EndpointConfig())
        try:
            record = engine.networks.find(name)
        except MinidockError:
            found[name] = view
            continue
        view.network_id = record.id
        made = container.state.endpoints.get(record.id)
        if made is not None:
            view.endpoint_id, view.mac_address = made.endpoint_id, made.mac_address
            view.ip_address, view.ip_prefix_len, view.gateway = (
                made.ip_address, made.ip_prefix_len, made.gateway,
            )  # fmt: skip
            view.global_ipv6_address, view.global_ipv6_prefix_len = made.ipv6_address, made.ipv6_prefix_len
            view.ipv6_gateway = made.ipv6_gateway
        if record.name not in ("bridge", "host", "none"):
            view.dns_names = dns_names(container, view)
        found[record.name] = view
    return found


def dns_names(container: Container, view: EndpointConfig) -> list[str]:
    """Return the names by which the container is known in a user-defined network."""
    hostname = container.record.config.hostname
    named = [container.name, *(view.aliases or ()), ids.short(container.id), hostname]
    return list(dict.fromkeys(name for name in named if name))


def _interface(record: NetworkRecord, asked: EndpointConfig, taken: Collection[str]) -> str:
    """Return the name of the interface inside: the one asked for, or the first free eth0, eth1, ..."""
    wanted = (asked.driver_opts or {}).get(network_options.INTERFACE, "")
    if wanted in taken:
        raise Conflict(f"the container has an interface {wanted} already")
    prefix = record.options.get(network_options.INTERFACE_PREFIX, "eth")
    return wanted or next(f"{prefix}{number}" for number in count() if f"{prefix}{number}" not in taken)


def _address(pool: Pool, wanted: str, made: Endpoint) -> Address | None:
    """Return the wanted address of the pool, or its next one; None when this family has one already."""
    if made.ip_address if pool.subnet.version == 4 else made.ipv6_address:
        return None
    if not wanted:
        return pool.allocate()
    address = parse_address(wanted)
    if address not in pool.subnet:
        raise InvalidParameter(f"no configured subnet contains IP address {address}")
    pool.take(address)
    return address


def _give_back(engine: Engine, pool: Pool, address: Address) -> None:
    with engine.networks.lock:
        pool.release(address)
