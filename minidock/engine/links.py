"""`--link TARGET:ALIAS`: lines in /etc/hosts and variables in the environment, as Docker has had since 2013.

In the default network they are all that connects names; in a user-defined one the name server knows the
alias too. They are worked out from what runs, at each start; when a target starts again with another
address, the hosts files that name it are written anew. docs.docker.com, "Legacy container links".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import publishing
from minidock.engine.containers import Container, find
from minidock.engine.model import ContainerRecord
from minidock.errors import InvalidParameter, MinidockError, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_NOT_HANDED_ON = frozenset({"PATH", "HOME"})


def parse(text: str) -> tuple[str, str]:
    """Return (target, alias) of `TARGET[:ALIAS]`; InvalidParameter in Docker's words."""
    target, separator, alias = text.partition(":")
    if not target or (separator and not alias) or ":" in alias:
        raise InvalidParameter(f"bad format for links: {text}")
    if not separator:
        return target.lstrip("/"), target.lstrip("/")
    return target.lstrip("/"), alias.rpartition("/")[2]  # inspect's own form is /target:/name/alias


def check(engine: Engine, links: Sequence[str]) -> None:
    """Raise InvalidParameter for a link to a container that does not exist."""
    for text in links:
        target, _ = parse(text)
        try:
            find(engine, target)
        except NotFound as error:
            raise InvalidParameter(f"could not get container for {target}: {error}") from error


def hosts(engine: Engine, container: Container) -> list[tuple[str, str]]:
    """Return (address, names) for the hosts file of a container in the default network."""
    found = []
    for target, alias in _running_targets(engine, container):
        address = _address(target)
        names = dict.fromkeys([alias, target.record.config.hostname, target.name])
        if address:
            found.append((address, " ".join(names)))
    return found


def with_environment(engine: Engine, container: Container) -> ContainerRecord:
    """Return the record with the variables of its links in front of its own environment."""
    found: list[str] = []
    for target, alias in _running_targets(engine, container):
        found += _variables(container, target, alias)
    if not found:
        return container.record
    config = container.record.config
    changed = msgspec.structs.replace(config, env=[*found, *(config.env or ())])
    return msgspec.structs.replace(container.record, config=changed)


def linked_from(engine: Engine, target: Container) -> list[Container]:
    """Return the running containers with a link to `target`."""
    names = {target.name, target.id}
    return [
        other
        for other in list(engine.containers.values())
        if other.is_running
        and any(
            name in names or target.id.startswith(name)
            for name, _ in map(parse, other.record.host_config.links or ())
        )
    ]


def shown(engine: Engine, container: Container) -> list[str] | None:
    """Return the links as inspect shows them: /target:/name/alias."""
    given = container.record.host_config.links
    if not given:
        return None
    found = []
    for text in given:
        target, alias = parse(text)
        try:
            target = find(engine, target).name
        except MinidockError:
            pass  # it is gone: what was asked for stays visible
        found.append(f"/{target}:/{container.name}/{alias}")
    return found


def _running_targets(engine: Engine, container: Container) -> Iterator[tuple[Container, str]]:
    """Yield the targets; those of the default network must run for the container to start."""
    if container.record.host_config.network_mode != "bridge":
        return
    for text in container.record.host_config.links or ():
        name, alias = parse(text)
        try:
            target = find(engine, name)
        except NotFound as error:
            raise MinidockError(f"could not get container for {name}: {error}") from error
        if not target.is_running:
            raise MinidockError(
                f"Cannot link to a non running container: /{target.name} AS /{container.name}/{alias}"
            )
        yield target, alias


def _address(target: Container) -> str:
    main = publishing.main_endpoint(target.state.endpoints)
    return "" if main is None else main.ip_address or main.ipv6_address


def _variables(container: Container, target: Container, alias: str) -> Iterator[str]:
    prefix = alias.replace("-", "_").upper()
    address = _address(target)
    ports = sorted(
        one for key in target.record.config.exposed_ports or () for one in publishing.port_numbers(key)
    )
    if ports:
        number, protocol = ports[0]
        yield f"{prefix}_PORT={protocol}://{address}:{number}"
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{name}={protocol}://{address}:{number}"
        yield f"{name}_ADDR={address}"
        yield f"{name}_PORT={number}"
        yield f"{name}_PROTO={protocol}"
    yield f"{prefix}_NAME=/{container.name}/{alias}"
    for entry in target.record.config.env or ():
        name, _, value = entry.partition("=")
        if name not in _NOT_HANDED_ON:
            yield f"{prefix}_ENV_{name}={value}"
