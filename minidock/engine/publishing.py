"""Published ports: host ports are chosen and bound before a container starts, and given back after its end.

A bound socket holds each port, so that `ss` shows it and nobody else gets it; the shim keeps the sockets and
relays what NAT cannot reach. Which port leads where is in state.json; the NAT elements are made from that.
The sentences are moby's.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minidock.engine import network_options
from minidock.engine.containers import Container
from minidock.engine.model import Endpoint, PortBinding
from minidock.errors import Conflict, MinidockError
from minidock.kernel.trace import Trace
from minidock.network.ports import Firewall, Published

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.runtime.client import Shim

FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999
_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


@dataclass(frozen=True)
class Bound:
    """One host port that is held for a container."""

    port: Published
    socket: socket.socket


class _InUse(MinidockError):
    """Somebody has the port: another one may do."""


def publish(
    engine: Engine,
    container: Container,
    endpoint: Endpoint,
    failed: ExitStack,
    undo: ExitStack,
    trace: Trace,
) -> list[Bound]:
    """Bind every port that the container is to publish and translate it; MinidockError in Docker's words.

    The sockets are closed by `undo`: by then the shim has its own copies.
    """
    found: list[Bound] = []
    with engine.networks.lock:  # two starts must not search the same free port
        for number, protocol, binding in wanted(container):
            try:
                found += _bind(engine, endpoint, number, protocol, binding, undo)
            except MinidockError as error:
                raise MinidockError(
                    "failed to set up container networking: driver failed programming external connectivity "
                    f"on endpoint {container.name} ({endpoint.endpoint_id}): {error}"
                ) from error
    ports = [one.port for one in found]
    failed.callback(engine.networks.firewall.unpublish, ports)
    if ports:
        elements = [" ".join(port.element()) for port in ports if port.is_translated]
        function = f"{Firewall.__module__}:{Firewall.publish.__qualname__}"
        with trace.step("publish the ports", function=function, elements=elements):
            engine.networks.firewall.publish(ports)
    return found


def hand_over(shim: Shim, bound: list[Bound]) -> None:
    """Give the sockets to the shim, which serves them until the container ends."""
    ports = [(one.socket.fileno(), one.port.address, one.port.port) for one in bound]
    if ports:
        with contextlib.suppress(Conflict, ConnectionError):  # the program has ended already
            shim.publish(ports)


def bindings(bound: list[Bound]) -> dict[str, list[PortBinding]]:
    """Return what inspect shows: for each container port, where it is published."""
    found: dict[str, list[PortBinding]] = {}
    for one in bound:
        port = one.port
        found.setdefault(f"{port.port}/{port.protocol}", []).append(
            PortBinding(host_ip=port.host_address, host_port=str(port.host_port))
        )
    return found


def published(container: Container) -> list[Published]:
    """Return the published ports of a running container, from its state."""
    endpoint = main_endpoint(container.state.endpoints)
    if endpoint is None:
        return []
    return [
        _published(endpoint, protocol, binding.host_ip, int(binding.host_port), int(number))
        for key, listed in container.state.ports.items()
        for number, _, protocol in [key.partition("/")]
        for binding in listed
    ]


def main_endpoint(endpoints: dict[str, Endpoint]) -> Endpoint | None:
    """Return the endpoint with the default route, to which published ports lead."""
    return next((one for one in endpoints.values() if one.gateway or one.ipv6_gateway), None)


def wanted(container: Container) -> Iterator[tuple[int, str, PortBinding]]:
    """Yield (container port, protocol, binding): what `-p` says, then with `-P` every other exposed port."""
    host = container.record.host_config
    named = set()
    for key, listed in sorted((host.port_bindings or {}).items(), key=lambda item: _order(item[0])):
        for number, protocol in port_numbers(key):
            named.add((number, protocol))
            for binding in listed or [PortBinding()]:
                yield number, protocol, binding
    if host.publish_all_ports:
        for key in sorted(container.record.config.exposed_ports or (), key=_order):
            for number, protocol in port_numbers(key):
                if (number, protocol) not in named:
                    yield number, protocol, PortBinding()


def port_numbers(key: str) -> Iterator[tuple[int, str]]:
    """Yield (port, protocol) for "80", "80/udp" or "90-91/tcp"."""
    span, _, protocol = key.partition("/")
    first, _, last = span.partition("-")
    for number in range(int(first), int(last or first) + 1):
        yield number, protocol or "tcp"


def _order(key: str) -> tuple[int, str]:
    return int(key.partition("/")[0].partition("-")[0]), key


def _bind(
    engine: Engine, endpoint: Endpoint, number: int, protocol: str, binding: PortBinding, undo: ExitStack
) -> list[Bound]:
    """Hold one host port for one container port, on one or on both address families."""
    record = engine.networks.find(endpoint.network_id)
    standard = record.options.get(network_options.HOST_ADDRESS, "")
    address = binding.host_ip or standard
    addresses = [address] if address else ["0.0.0.0", "::"]
    last_error = _InUse("all ports are allocated")
    for candidate in _candidates(engine, binding.host_port):
        with ExitStack() as tried:
            try:
                made = []
                for one in addresses:
                    port = _published(endpoint, protocol, one, candidate, number)
                    held = _listen(engine, port, optional=len(addresses) > 1 and one == "::")
                    if held is not None:
                        made.append(Bound(port, held))
                        tried.callback(held.close)
            except _InUse as error:
                last_error = error
                continue
            undo.push(tried.pop_all())
            return made
    raise last_error


def _candidates(engine: Engine, text: str) -> Iterator[int]:
    """Yield the host ports that will do: the one asked for, those of a range, or ephemeral ones in turn."""
    first, _, last = text.partition("-")
    if text and int(first):
        yield from range(int(first), int(last or first) + 1)
        return
    for _ in range(LAST_EPHEMERAL - FIRST_EPHEMERAL + 1):
        yield engine.networks.next_ephemeral_port(FIRST_EPHEMERAL, LAST_EPHEMERAL)


def _listen(engine: Engine, port: Published, optional: bool) -> socket.socket | None:
    kind, protocol = _TYPES[port.protocol]
    family = socket.AF_INET6 if ":" in port.host_address else socket.AF_INET
    where = f"{port.host_address}:{port.host_port}"
    if family == socket.AF_INET6:
        where = f"[{port.host_address}]:{port.host_port}"
    made = None
    try:
        made = socket.socket(family, kind, protocol)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:  # with UDP it would let two share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((port.host_address, port.host_port))
        if kind == socket.SOCK_STREAM:
            made.listen(4096)
    except OSError as error:
        if made is not None:
            made.close()
        if optional and error.errno in _NO_SUCH_FAMILY:
            return None
        if error.errno == errno.EADDRINUSE and _is_ours(engine, port):
            raise _InUse(f"Bind for {where} failed: port is already allocated") from error
        words = {errno.EADDRNOTAVAIL: "cannot assign requested address"}
        reason = words.get(error.errno or 0, (error.strerror or "").lower())
        inner = f"[{port.address}]" if ":" in port.address else port.address
        kind_of_error = _InUse if error.errno == errno.EADDRINUSE else MinidockError
        raise kind_of_error(
            f"failed to bind host port for {where}:{inner}:{port.port}/{port.protocol}: {reason}"
        ) from error
    return made


def _is_ours(engine: Engine, port: Published) -> bool:
    """Whether another container of this engine publishes the port."""
    return any(
        other.protocol == port.protocol and other.host_port == port.host_port
        for container in list(engine.containers.values())
        for other in published(container)
    )


def _published(endpoint: Endpoint, protocol: str, host_address: str, host_port: int, port: int) -> Published:
    """Return the port with the container's address of the host address's family, else with the other one."""
    same, other = endpoint.ip_address, endpoint.ipv6_address
    if ":" in host_address:
        same, other = other, same
    return Published(protocol, host_address, host_port, same or other, port)
