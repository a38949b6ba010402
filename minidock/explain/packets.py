"""The way of a packet between a container and the world: interface, veth, bridge, rules, listener.

Each end is read in its own network namespace, by a thread that enters it and ends there. rtnetlink(7),
veth(4), nft(8), proc_pid_net(5).
"""

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from minidock.explain.seen import cut, descriptors, printable
from minidock.kernel import namespaces as kernel
from minidock.kernel.nftables import Nftables
from minidock.network import links, namespaces

IFF_LOOPBACK = 0x8
LISTENS = "0A"  # the state in /proc/net/tcp; a bound UDP socket has 07
UNCONNECTED = "07"
TABLE = "minidock-"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Interface:
    """One interface of a namespace; `peer` is the index of what it is plugged into, in another namespace."""

    index: int
    name: str
    kind: str
    peer: int
    master: int
    mac: str
    addresses: tuple[str, ...]
    gateway: str = ""


@dataclass(frozen=True)
class Rules:
    """An nftables table of an engine: its sets and maps, element by element."""

    table: str
    elements: dict[str, list[str]]


def lines(pid: int, host: int) -> list[str]:
    """Draw the ways in and out; `host` is a process in the host's network namespace, the container's shim."""
    if kernel.inode(pid, "network") == kernel.inode(host, "network"):
        return ["the host's own network: the program uses the host's interfaces and addresses"]
    inside = [one for one in within(pid, interfaces) if one.name != "lo"]
    if not inside:
        return ["a network namespace with nothing but lo: no packet leaves it"]
    outside = {one.index: one for one in within(host, interfaces)}
    tables, problem = _tables(host)
    drawn = []
    for one in inside:
        drawn += _way_out(one, outside, tables)
    addresses = {text.partition("/")[0] for one in inside for text in one.addresses}
    drawn += _ways_in(addresses, tables, host)
    return [cut(line) for line in [*drawn, *problem]]


def within(pid: int, function: Callable[[], Result]) -> Result:
    """Call `function` in the network namespace of a process."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return namespaces.inside(descriptor, function)
    finally:
        os.close(descriptor)


def interfaces() -> list[Interface]:
    """Return the interfaces of the calling thread's namespace, the gateway of the default route with its."""
    with links.talking() as route:
        gateways = {
            message.get_attr("RTA_OIF"): message.get_attr("RTA_GATEWAY") or ""
            for message in route.get_default_routes(family=links.AF_INET)
        }
        found = []
        for message in route.get_links():
            about = message.get_attr("IFLA_LINKINFO")
            index = message["index"]
            found.append(
                Interface(
                    index=index,
                    name=printable(message.get_attr("IFLA_IFNAME")),
                    kind=(about.get_attr("IFLA_INFO_KIND") if about is not None else "") or "",
                    peer=message.get_attr("IFLA_LINK") or 0,
                    master=message.get_attr("IFLA_MASTER") or 0,
                    mac=message.get_attr("IFLA_ADDRESS") or "",
                    addresses=tuple(links.addresses_of(route, index)),
                    gateway=gateways.get(index, ""),
                )
            )
        return found


def _way_out(one: Interface, outside: dict[int, Interface], tables: list[Rules]) -> list[str]:
    """Draw from an interface inside to the host's own, one line a station."""
    drawn = [f"inside   {one.name}  {', '.join(one.addresses)}  {one.mac}"]
    peer = outside.get(one.peer)
    if peer is None or one.kind != "veth":
        return [*drawn, f"         a {one.kind or 'device'} whose other end is not on the host"]
    drawn += ["  |      a veth pair: what goes in at one end comes out at the other", f"host     {peer.name}"]
    bridge = outside.get(peer.master)
    if bridge is None:
        return drawn
    drawn.append("  |      a port of the bridge, which passes frames on like a switch")
    role = "the gateway inside" if one.gateway else "no way out inside"
    drawn.append(f"host     {bridge.name}  {', '.join(bridge.addresses)}  {role}")
    address = one.addresses[0].partition("/")[0] if one.addresses else ""
    for rules in tables:
        subnet = _subnet_with(address, rules.elements)
        if one.gateway and subnet:
            drawn.append(f"  |      {rules.table}, chain hide-source: {subnet} gets the host's address")
    out = next((other for other in outside.values() if other.gateway), None)
    if one.gateway and out is not None:
        drawn.append(f"host     {out.name}  {', '.join(out.addresses)}  the way out, by {out.gateway}")
    return drawn


def _subnet_with(address: str, elements: dict[str, list[str]]) -> str:
    """Return the masqueraded subnet that holds the address, or ""."""
    for text in elements.get("masqueraded4", []) + elements.get("masqueraded6", []):
        try:
            if ipaddress.ip_address(address) in ipaddress.ip_network(text):
                return text
        except ValueError:
            continue
    return ""


def _ways_in(addresses: set[str], tables: list[Rules], shim: int) -> list[str]:
    """Return the published ports: map elements that lead here, and the sockets on which the shim listens."""
    drawn = []
    for rules in tables:
        for name, elements in rules.elements.items():
            for element in elements:
                key, _, target = element.partition(" : ")
                if target.partition(" . ")[0] in addresses:
                    drawn.append(f"in       {rules.table}, map {name}: {key} --> {target}")
    for number, where in sorted(listeners(shim).items()):
        drawn.append(f"in       {where}: descriptor {number} of the shim, which relays what no rule catches")
    return drawn or ["in       no port is published: only the host and its neighbours on the bridge get here"]


def listeners(pid: int) -> dict[int, str]:
    """Return the descriptors on which a process waits for connections or datagrams: "tcp 0.0.0.0:80"."""
    sockets = {target: number for number, target in descriptors(pid).items() if target.startswith("socket:")}
    found = {}
    for protocol, state in (("tcp", LISTENS), ("tcp6", LISTENS), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)):
        for address, port, inode in _bound(pid, protocol, state):
            number = sockets.get(f"socket:[{inode}]")
            if number is not None:
                shown = f"[{address}]" if ":" in address else address
                found[number] = f"{protocol.removesuffix('6')} {shown}:{port}"
    return found


def _bound(pid: int, protocol: str, state: str) -> Iterable[tuple[str, int, str]]:
    """Yield (address, port, inode) of the sockets in this state in a process's network namespace."""
    try:
        with open(f"/proc/{pid}/net/{protocol}", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for row in rows:
        if row[3] == state:
            address, _, port = row[1].partition(":")
            yield _address(address), int(port, 16), row[9]


def _address(text: str) -> str:
    """Read an address as the kernel prints it: 32-bit words of the host's byte order, in hexadecimal."""
    words = [int(text[start : start + 8], 16).to_bytes(4, "little") for start in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words))


def _tables(host: int) -> tuple[list[Rules], list[str]]:
    """Return the tables of engines on this host; when they cannot be read, a line that says why."""
    try:
        return within(host, _read_tables), []
    except OSError as error:
        return [], [f"(the rules cannot be read: {error})"]


def _read_tables() -> list[Rules]:
    nft = Nftables()
    try:
        found = []
        for name in re.findall(rf"table (inet {TABLE}\S+)", nft.run("list tables inet")):
            text = nft.run(f"list table {name}")
            parts = re.findall(r"(?s)\t(?:set|map) (\S+) \{(.*?)\n\t\}", text)
            found.append(Rules(name, {part: elements_of(body) for part, body in parts}))
        return found
    finally:
        nft.close()


def elements_of(body: str) -> list[str]:
    """Return the elements in the body of a set or map as nft(8) prints it."""
    found = re.search(r"(?s)elements = \{(.*?)\}", body)
    return [" ".join(one.split()) for one in found[1].split(",")] if found else []
