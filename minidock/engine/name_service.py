"""Which names a container is answered: those of the others in its user-defined networks, and its links.

Nothing is stored: every query is answered from the containers that run at that moment. Whatever no network
of its knows is asked of the host's name servers (or `--dns`), but not for a container that has only internal
networks: its questions would leave by the back door.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from minidock.engine import endpoints, etc_files
from minidock.engine.containers import Container
from minidock.engine.model import Endpoint, EndpointConfig
from minidock.engine.network_model import NetworkRecord
from minidock.engine.networks import PREDEFINED
from minidock.errors import MinidockError
from minidock.formats import dns
from minidock.network import names

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
DNS_PORT = 53


def is_served(engine: Engine, container: Container, made: dict[str, Endpoint]) -> bool:
    """Whether the container has the embedded name server: with an endpoint in a user-defined network."""
    return any(engine.networks.find(identifier).name not in PREDEFINED for identifier in made)


def open_zone(
    engine: Engine, container: Container, descriptor: int, made: dict[str, Endpoint], failed: ExitStack
) -> None:
    """Begin to answer the container's name queries, inside the namespace behind `descriptor`."""
    if not is_served(engine, container, made):
        engine.name_server.forget(container.id)
        return
    if engine.name_server.serves(container.id):
        return
    udp, tcp = names.open_sockets(descriptor)
    servers = [(text, DNS_PORT) for text in etc_files.name_servers(container.record)]
    has_way_out = any(one.gateway or one.ipv6_gateway for one in made.values())

    def lookup(question: dns.Question) -> bytes | None:
        return answer(engine, container, question)

    zone = names.Zone(lookup, servers if has_way_out else [], udp, tcp)
    engine.name_server.serve(container.id, zone)
    failed.callback(engine.name_server.forget, container.id)


def resume(engine: Engine, container: Container) -> None:
    """Answer a container again that runs since before this engine. Never raises."""
    try:
        with ExitStack() as undo:
            descriptor = endpoints.running_namespace(container, undo)
            open_zone(engine, container, descriptor, container.state.endpoints, ExitStack())
    except (MinidockError, OSError) as error:
        engine.problems.append(f"container {container.id} has no name server: {error}")


def answer(engine: Engine, container: Container, question: dns.Question) -> bytes | None:
    """Return the answer to a question about our own names; None for all others."""
    name = question.name.lower().rstrip(".")
    if question.kind == dns.PTR:
        address = dns.reversed_address(name)
        found = list(_names_of(engine, container, address)) if address else []
        return dns.names(question, found) if found else None
    addresses = list(_addresses_of(engine, container, name))
    if not addresses:
        return None
    random.shuffle(addresses)
    return dns.addresses(question, addresses)


def _addresses_of(engine: Engine, asker: Container, name: str) -> Iterator[str]:
    for record, other, made in _neighbours(engine, asker):
        known = _known_as(record, asker, other)
        if name in known or name.removesuffix(f".{record.name.lower()}") in known:
            yield from filter(None, (made.ip_address, made.ipv6_address))


def _names_of(engine: Engine, asker: Container, address: str) -> Iterator[str]:
    for record, other, made in _neighbours(engine, asker):
        if address in (made.ip_address, made.ipv6_address):
            yield f"{other.name}.{record.name}"


def _neighbours(engine: Engine, asker: Container) -> Iterator[tuple[NetworkRecord, Container, Endpoint]]:
    """Yield every endpoint in the asker's user-defined networks, its own too."""
    for identifier in list(asker.state.endpoints):
        try:
            record = engine.networks.find(identifier)
        except MinidockError:
            continue
        if record.name in PREDEFINED:
            continue
        for other in list(engine.containers.values()):
            made = other.state.endpoints.get(identifier)
            if made is not None:
                yield record, other, made


def _known_as(record: NetworkRecord, asker: Container, other: Container) -> set[str]:
    """Return the names of `other` in the network, in lower case, with those that only the asker gave it."""
    given = other.record.networking.endpoints_config or {}
    asked = given.get(record.name) or given.get(record.id) or EndpointConfig()
    known = set(endpoints.dns_names(other, asked))
    mine = asker.record.networking.endpoints_config or {}
    own = mine.get(record.name) or mine.get(record.id) or EndpointConfig()
    for link in (*(own.links or ()), *(asker.record.host_config.links or ())):
        target, _, alias = link.partition(":")
        if target.lstrip("/") in (other.name, other.id) or (target and other.id.startswith(target)):
            known.add(alias or target)
    return {one.lower() for one in known}
