"""The networks of an engine: their records, their addresses, and how their bridges come and go.

`bridge`, `host` and `none` are always there. A bridge is made with its first endpoint and goes with the
engine when no container needs it, so an engine that runs nothing leaves nothing on the host; which addresses
are in use is told by the containers that run and is never written down twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Iterator

import msgspec

from minidock import atomic, ids
from minidock.engine import network_options, times
from minidock.engine.network_model import Ipam, IpamSubnet, NetworkRecord
from minidock.errors import Conflict, Forbidden, InvalidParameter, MinidockError, NotFound, Unavailable
from minidock.network import bridge as bridges
from minidock.network import links, router
from minidock.network.addresses import (
    Address,
    Pool,
    Subnet,
    free_subnet,
    parse_subnet,
    unique_local_subnet,
)
from minidock.network.ports import Firewall, Rules
from minidock.network.watching import RuleWatch
from minidock.paths import DEFAULT_DATA_ROOT, Paths

log = logging.getLogger(__name__)
NO_BRIDGE = "none"  # --bridge=none: the default network has a loopback and nothing else
PREDEFINED = ("bridge", "host", "none")


class Networks:
    """All networks of one engine. `lock` guards records, pools and bridges; no container's lock inside it."""

    def __init__(self, paths: Paths, bridge: str, bip: str) -> None:
        self.lock = threading.RLock()
        self.directory = os.path.join(paths.data_root, "networks")
        self.owner = paths.data_root
        self.default_bridge = bridge or default_bridge_name(paths.data_root)
        self.firewall = Firewall(f"minidock-{self.default_bridge}")
        self.problems: list[str] = []
        self._bip = bip
        self._forwarding_record = os.path.join(paths.exec_root, "forwarding")
        self._records: dict[str, NetworkRecord] = {}
        self._pools: dict[str, list[Pool]] = {}
        self._made: set[str] = set()
        self._last_port = 0
        self._watch: RuleWatch | None = None

    @property
    def has_bridge(self) -> bool:
        """Whether the default network is a bridge at all."""
        return self.default_bridge != NO_BRIDGE

    def load(self) -> None:
        """Read the records; a damaged one is moved aside. Makes the three that are always there."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        for name in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, name)
            if name.startswith(".") or not name.endswith(".json"):
                continue
            try:
                with open(path, "rb") as file:
                    record = msgspec.json.decode(file.read(), type=NetworkRecord)
                self._pools[record.id] = _pools(record)
                self._records[record.id] = record
            except (msgspec.MsgspecError, MinidockError, ValueError) as error:
                os.replace(path, os.path.join(self.directory, f".damaged-{name}"))
                self.problems.append(f"{path} is damaged: {error}; moved to .damaged-{name}")
        for name in PREDEFINED:
            if not any(record.name == name for record in self._records.values()):
                driver = "null" if name == "none" else name
                self._keep(NetworkRecord(id=ids.random_id(), name=name, created=times.now(), driver=driver))
        if self.has_bridge:
            threading.Thread(target=links.prepare, name="import", daemon=True).start()
        default = self.find("bridge")
        if default.bridge != self.default_bridge or (self._bip and not _has_gateway(default, self._bip)):
            self._keep(msgspec.structs.replace(default, bridge=self.default_bridge, ipam=Ipam()))

    def records(self) -> list[NetworkRecord]:
        """Return every network."""
        return list(self._records.values())

    def find(self, reference: str) -> NetworkRecord:
        """Return the network with this id, name or unique beginning of an id; NotFound in Docker's words."""
        if reference in self._records:
            return self._records[reference]
        named = [record for record in self.records() if record.name == reference]
        found = named or [
            record for record in self.records() if reference and record.id.startswith(reference)
        ]
        if len(found) > 1:
            raise InvalidParameter(
                f"network {reference} is ambiguous ({len(found)} matches found on ID prefix)"
            )
        if not found:
            raise NotFound(f"network {reference} not found")
        return found[0]

    def add(self, record: NetworkRecord) -> NetworkRecord:
        """Keep a new network, with its subnets chosen and its bridge made; Conflict, MinidockError."""
        with self.lock:
            if any(other.name == record.name for other in self.records()):
                raise Conflict(f"network with name {record.name} already exists")
            try:
                record = self.with_subnets(record)
                self.make(record)
            except BaseException:
                self.discard(record)
                raise
            return record

    def discard(self, record: NetworkRecord) -> None:
        """Forget a network and take its bridge away."""
        with self.lock:
            self._records.pop(record.id, None)
            self._pools.pop(record.id, None)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(record))
            self._unmake(record)

    def with_subnets(self, record: NetworkRecord, with_link: bool = True) -> NetworkRecord:
        """Return the network with its subnets and gateways chosen, and keep it so."""
        with self.lock:
            record = self._records.get(record.id, record)  # another start may have chosen since it was read
            if record.driver != "bridge" or record.bridge == NO_BRIDGE:
                return record
            if _is_complete(record) and record.id in self._records:
                return record
            with _explained(), bridges.host_locked():
                record = msgspec.structs.replace(record, ipam=self._chosen(record))
                if with_link:
                    self._make_link(
                        record
                    )  # while the host is locked: its route shows that the subnet is taken
            self._keep(record)
            return record

    def make(self, record: NetworkRecord) -> None:
        """Make the bridge of a network and its rules, if that has not happened yet."""
        with self.lock:
            if record.id in self._made or not record.bridge:
                return
            with _explained(), bridges.host_locked():
                self._make_link(record)
                self.firewall.close_behind(router.turn_on(self._forwarding_record, record.enable_ipv6))
                self.firewall.add_bridge(_rules(record))
                if self._watch is None:
                    self._watch = RuleWatch(self._repair)
            self._made.add(record.id)

    def make_again(self, record: NetworkRecord) -> None:
        """Make a bridge that somebody has removed."""
        with self.lock:
            self._made.discard(record.id)
            self.make(record)

    def next_ephemeral_port(self, first: int, last: int) -> int:
        """Return the host port after the one that was tried last; use it with `lock` held."""
        self._last_port = self._last_port + 1 if first <= self._last_port < last else first
        return self._last_port

    def mtu(self, record: NetworkRecord) -> int:
        """Return the MTU of the network's links."""
        return int(record.options.get(network_options.MTU, 1500))

    def pools(self, record: NetworkRecord) -> list[Pool]:
        """Return the network's pools, one a subnet; use them with `lock` held."""
        return self._pools.get(record.id, [])

    def sweep(self, in_use: set[str]) -> None:
        """Remove what an engine that was killed has left of networks that no running container is in."""
        with self.lock:
            present = {name for _, name in socket.if_nameindex()}
            stale = [one for one in self.records() if one.bridge in present and one.id not in in_use]
            for record in stale:
                self._unmake(record)
            if stale and not in_use:
                self.firewall.remove_table()
            # a daemon that was killed between making a bridge and its record has left one that nobody names
            known = {one.bridge for one in self.records()}
            for name in sorted(name for name in present - known if name.startswith("br-")):
                with contextlib.suppress(OSError):
                    bridges.remove(name, self.owner)

    def close(self, in_use: set[str]) -> None:
        """Take away the bridges of networks that no running container is in; the rest stays as it is."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        with self.lock:
            for record in self.records():
                if record.id in self._made and record.id not in in_use:
                    self._unmake(record)
            self.firewall.close()

    def _repair(self) -> None:
        if self.firewall.repair():
            log.warning("somebody removed rules of table %s: they are written anew", self.firewall.table)

    def _unmake(self, record: NetworkRecord) -> None:
        if not record.bridge:
            return
        self._made.discard(record.id)
        try:
            self.firewall.remove_bridge(record.bridge)
            bridges.remove(record.bridge, self.owner)
        except OSError as error:
            log.warning("cannot remove the bridge %s: %s", record.bridge, error)

    def _make_link(self, record: NetworkRecord) -> None:
        inhibited = network_options.is_on(record.options, network_options.INHIBIT_IPV4)
        wanted = [
            f"{part.gateway}/{parse_subnet(part.subnet).prefixlen}"
            for part in record.ipam.config or ()
            if part.gateway and (":" in part.gateway or not inhibited)
        ]
        bridges.ensure(bridges.Bridge(record.bridge, self.owner, tuple(wanted), self.mtu(record)))

    def _chosen(self, record: NetworkRecord) -> Ipam:
        """Return the subnets of a network. Called with the host locked: nobody else chooses meanwhile."""
        given = list(record.ipam.config or ())
        with links.talking() as route:
            present = links.find(route, record.bridge)
            own = present.index if present else -1
            taken = [subnet for index, subnet in links.subnets_in_use(route) if index != own]
            adopted = links.addresses_of(route, present.index) if present else []
        if record.name == "bridge" and not given:
            given = _default_subnets(self._bip, [text for text in adopted if ":" not in text])
        ours = [pool.subnet for pools in self._pools.values() for pool in pools]
        for part in given:
            if part.subnet and any(parse_subnet(part.subnet).overlaps(other) for other in _same(part, ours)):
                raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
        if not any(":" not in part.subnet for part in given if part.subnet):
            without = next((part for part in given if not part.subnet), None)
            chosen = str(free_subnet([*taken, *ours]))
            if without is not None:
                given[given.index(without)] = msgspec.structs.replace(without, subnet=chosen)
            else:
                given.insert(0, IpamSubnet(subnet=chosen))
        if record.enable_ipv6 and not any(":" in part.subnet for part in given):
            given.append(IpamSubnet(subnet=str(unique_local_subnet(bytes.fromhex(record.id[:14])))))
        complete = [_with_gateway(part) for part in given]
        return msgspec.structs.replace(record.ipam, config=complete)

    def _keep(self, record: NetworkRecord) -> None:
        self._pools[record.id] = _pools(record)
        atomic.write_durable(
            self._path(record), msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        )
        self._records[record.id] = record

    def _path(self, record: NetworkRecord) -> str:
        return os.path.join(self.directory, f"{record.id}.json")


def default_bridge_name(data_root: str) -> str:
    """Return `minidock0` for the host's one engine; another engine's name comes from its data root."""
    if data_root == DEFAULT_DATA_ROOT:
        return "minidock0"
    return "md-" + hashlib.sha256(os.fsencode(data_root)).hexdigest()[:10]


def _default_subnets(bip: str, adopted: list[str]) -> list[IpamSubnet]:
    """Return the default bridge's subnet where it is given: by --bip, or by a bridge already there."""
    text = bip or next(iter(adopted), "")
    if not text:
        return []
    interface = ipaddress.ip_interface(text)
    return [IpamSubnet(subnet=str(interface.network), gateway=str(interface.ip))]


def _with_gateway(part: IpamSubnet) -> IpamSubnet:
    subnet = parse_subnet(part.subnet)
    if part.gateway:
        return part
    first = int(parse_subnet(part.ip_range).network_address) if part.ip_range else int(subnet.network_address)
    host = first + 1 if first == int(subnet.network_address) else first
    return msgspec.structs.replace(part, gateway=str(ipaddress.ip_address(host)))


def _is_complete(record: NetworkRecord) -> bool:
    parts = record.ipam.config or ()
    return bool(parts) and all(part.subnet and part.gateway for part in parts)


def _has_gateway(record: NetworkRecord, bip: str) -> bool:
    wanted = str(ipaddress.ip_interface(bip).ip)
    return any(part.gateway == wanted for part in record.ipam.config or ())


def _pools(record: NetworkRecord) -> list[Pool]:
    found = []
    for part in record.ipam.config or ():
        if part.subnet:
            auxiliary = [ipaddress.ip_address(text) for text in (part.auxiliary_addresses or {}).values()]
            gateway: Address | None = ipaddress.ip_address(part.gateway) if part.gateway else None
            ip_range: Subnet | None = parse_subnet(part.ip_range) if part.ip_range else None
            found.append(Pool(parse_subnet(part.subnet), gateway, ip_range, auxiliary))
    return found


def _same(part: IpamSubnet, others: list[Subnet]) -> list[Subnet]:
    return [other for other in others if (":" in part.subnet) == (other.version == 6)]


def _rules(record: NetworkRecord) -> Rules:
    return Rules(
        record.bridge,
        subnets=tuple(part.subnet for part in record.ipam.config or ()),
        masquerade=network_options.is_on(record.options, network_options.MASQUERADE),
        internal=record.internal,
        together=network_options.is_on(record.options, network_options.ICC),
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what the kernel or a missing library says into a sentence for the user."""
    try:
        yield
    except OSError as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        raise Unavailable(
            f"the bridge network cannot be made: {error.filename or ''}: {error.strerror}"
            f"{f' ({notes})' if notes else ''}; --network none and --network host work without it"
        ) from error
