"""`--link TARGET:ALIAS`: lines in /etc/hosts and variables in the environment, as Docker has had since 2013.

In the default network they are all that connects names; in a user-defined one the name server knows the
alias too. They are worked out from what runs, at each start; when a target starts again with another
address, the hosts files that name it are written anew. docs.docker.com, "Legacy container links".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import publishing, records
from minidock.engine.containers import Container, find, link_parts
from minidock.engine.model import ContainerRecord
from minidock.errors import Conflict, InvalidParameter, MinidockError, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_NOT_HANDED_ON = frozenset({"PATH", "HOME"})


def check(engine: Engine, links: Sequence[str]) -> None:
    """Raise InvalidParameter for a link to a container that does not exist."""
    for text in links:
        target, _ = link_parts(text)
        try:
            find(engine, target)
        except NotFound as error:
            raise InvalidParameter(f"could not get container for {target}: {error}") from error


def names(engine: Engine) -> dict[str, list[str]]:
    """Return the names that links give, as {target's id: [/PARENT/ALIAS, ...]}."""
    found: dict[str, list[str]] = {}
    for parent in list(engine.containers.values()):
        for text in _given(parent):
            target, alias = link_parts(text)
            with contextlib.suppress(MinidockError):  # it may be gone
                found.setdefault(find(engine, target).id, []).append(f"/{parent.name}/{alias}")
    return found


def remove(engine: Engine, path: str) -> Container:
    """Take the link PARENT/ALIAS away and return the parent; NotFound or Conflict in Docker's words."""
    name, _, alias = path.strip("/").rpartition("/")
    if not name:
        find(engine, path)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    find(engine, path)
    parent = find(engine, name)
    with parent.lock:
        host = parent.record.host_config
        left = [text for text in host.links or () if link_parts(text)[1] != alias]
        record = msgspec.structs.replace(
            parent.record, host_config=msgspec.structs.replace(host, links=left or None)
        )
        records.write_config(parent.directory, record)
        parent.record = record
    return parent


def hosts(engine: Engine, container: Container) -> list[tuple[str, str]]:
    """Return (address, names) for the hosts file of a container in the default network.

    A target that is gone or does not run has no line: the file is written anew whenever another one starts.
    """
    found = []
    for text in _given(container):
        name, alias = link_parts(text)
        with contextlib.suppress(MinidockError):
            target = find(engine, name)
            address = _address(target)
            if address:
                names = dict.fromkeys([alias, target.record.config.hostname, target.name])
                found.append((address, " ".join(names)))
    return found


def with_environment(engine: Engine, container: Container) -> ContainerRecord:
    """Return the record with the variables of its links in front of its own environment.

    Called by a start, which fails when a target does not run.
    """
    found: list[str] = []
    for text in _given(container):
        name, alias = link_parts(text)
        try:
            target = find(engine, name)
        except NotFound as error:
            raise MinidockError(f"could not get container for {name}: {error}") from error
        if not target.is_running:
            raise MinidockError(
                f"Cannot link to a non running container: /{target.name} AS /{container.name}/{alias}"
            )
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
            for name, _ in map(link_parts, other.record.host_config.links or ())
        )
    ]


def shown(engine: Engine, container: Container) -> list[str] | None:
    """Return the links as inspect shows them: /target:/name/alias."""
    given = container.record.host_config.links
    if not given:
        return None
    found = []
    for text in given:
        target, alias = link_parts(text)
        try:
            target = find(engine, target).name
        except MinidockError:
            pass  # it is gone: what was asked for stays visible
        found.append(f"/{target}:/{container.name}/{alias}")
    return found


def _given(container: Container) -> list[str]:
    """Return the links of a container in the default network; in others they are names of that network."""
    host = container.record.host_config
    return (host.links or []) if host.network_mode == "bridge" else []


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
