"""A container's network over one run: made before the start, found again by a new engine, given back.

What a start has taken is in state.json before the container is made, so a daemon that is killed finds it
again. Links go with the namespace, which the kernel frees in a moment; one that stays is removed by name.
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import endpoints, etc_files, links, name_service, publishing, records
from minidock.engine.containers import Container
from minidock.engine.model import Endpoint
from minidock.errors import MinidockError
from minidock.kernel.trace import Trace
from minidock.network import endpoint
from minidock.network.addresses import parse_address

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
GRACE = 0.5  # seconds in which the kernel frees a namespace by itself, which costs us nothing


@dataclass(frozen=True)
class Prepared:
    """The network of a run: namespaces to join by name, and host ports held for it."""

    namespaces: dict[str, int]
    ports: list[publishing.Bound]


def prepare(
    engine: Engine, container: Container, undo: ExitStack, failed: ExitStack, trace: Trace
) -> Prepared:
    """Make the network of a run, record it, and write hosts, hostname and resolv.conf.

    `undo` closes descriptors in any case, `failed` takes everything back when the start fails; `trace` hears
    of the steps.
    """
    descriptor = endpoints.namespace(engine, container, undo, trace)
    ports: list[publishing.Bound] = []
    if container.record.host_config.network_mode.startswith("container:"):
        _take_names(container, endpoints.partner(engine, container))
    elif descriptor >= 0:
        made = endpoints.plug_all(engine, container, descriptor, failed, trace)
        main = publishing.main_endpoint(made)
        if main is not None:
            ports = publishing.publish(engine, container, main, failed, undo, trace)
        if made:
            name_service.open_zone(engine, container, descriptor, made, failed)
            failed.callback(container.change, endpoints={}, ports={})
            container.change(endpoints=made, ports=publishing.bindings(ports))
    write_names(engine, container)
    return Prepared({} if descriptor < 0 else {"network": descriptor}, ports)


def _take_names(container: Container, owner: Container) -> None:
    """Give a container the host name of the one whose network it shares: its hosts file names that one."""
    names = owner.record.config
    config = msgspec.structs.replace(
        container.record.config, hostname=names.hostname, domainname=names.domainname
    )
    if config != container.record.config:
        container.record = msgspec.structs.replace(container.record, config=config)
        records.write_config(container.directory, container.record)


def write_names(engine: Engine, container: Container) -> None:
    """Write the container's hosts, hostname and resolv.conf for the endpoints it has now."""
    made = container.state.endpoints
    main = publishing.main_endpoint(made)
    gateway = "" if main is None else main.gateway or main.ipv6_gateway
    if not gateway and container.record.host_config.extra_hosts:
        gateway = _host_address(engine, container)
    names = etc_files.Names(
        own=[text for one in made.values() for text in (one.ip_address, one.ipv6_address) if text],
        linked=links.hosts(engine, container),
        gateway=gateway,
        embedded=name_service.is_served(engine, container, made),
    )
    etc_files.write(container.record, container.directory, names)


def _host_address(engine: Engine, container: Container) -> str:
    """Return what `host-gateway` means where no network leads to the host: the default bridge."""
    if container.record.host_config.network_mode == "host" or not engine.networks.has_bridge:
        return ""
    default = engine.networks.with_subnets(engine.networks.find("bridge"), with_link=False)
    return next((part.gateway for part in default.ipam.config or () if part.gateway), "")


def etc_directory(engine: Engine, container: Container) -> str:
    """Return where the container's hosts, hostname and resolv.conf lie: with the network's owner."""
    if container.record.host_config.network_mode.startswith("container:"):
        return endpoints.partner(engine, container).directory
    return container.directory


def started(engine: Engine, container: Container) -> None:
    """Tell who needs to know that the container is in its networks now."""
    for network_id in container.state.endpoints:
        endpoints.publish_event(engine, container, network_id, "connect")
    for other in links.linked_from(engine, container):
        write_names(engine, other)


def resume(engine: Engine, container: Container) -> None:
    """The container runs since before this engine: note what it has, and make the rules that it needs."""
    for made in container.state.endpoints.values():
        try:
            record = engine.networks.find(made.network_id)
            with engine.networks.lock:
                for pool in engine.networks.pools(record):
                    for text in (made.ip_address, made.ipv6_address):
                        if text and parse_address(text) in pool.subnet:
                            pool.occupy(parse_address(text))
                engine.networks.make(record)
        except MinidockError as error:
            engine.problems.append(f"container {container.id}: {error}")
    if container.state.endpoints:
        try:
            engine.networks.firewall.publish(publishing.published(container))
        except OSError as error:
            engine.problems.append(f"container {container.id}: its ports are not published: {error}")
        name_service.resume(engine, container)


def release(engine: Engine, container: Container) -> None:
    """Give back what the container's last run had; the caller records that it has nothing. Never raises."""
    found = container.state.endpoints
    if not found:
        return
    engine.name_server.forget(container.id)
    engine.networks.firewall.unpublish(publishing.published(container))
    for made in found.values():
        endpoints.forget_connections(made)
    endpoints.give_back(engine, list(found.values()))
    later = threading.Timer(GRACE, _unplug, args=(engine, list(found.values())))
    later.daemon = True
    later.start()
    for made in found.values():
        endpoints.publish_event(engine, container, made.network_id, "disconnect")


def _addresses_in_use(engine: Engine) -> set[str]:
    present = list(engine.containers.values())
    return {made.ip_address for container in present for made in container.state.endpoints.values()}


def _unplug(engine: Engine, made: list[Endpoint]) -> None:
    """Take links away that are still there: another container may have joined the namespace, or the kernel
    keeps it for a connection whose peer does not take what the program has sent. By now a dying namespace has
    said its last words (it leaves its multicast groups), which the host has tracked too.
    """
    present = {name for _, name in socket.if_nameindex()}
    for one in made:
        try:
            if one.link in present:
                endpoint.unplug(one.link)
            if one.ip_address not in _addresses_in_use(engine):
                endpoints.forget_connections(one)
        except OSError as error:
            log.warning("cannot remove the link %s: %s", one.link, error)
