"""Port NAT: one engine's nftables table, its bridges, and one map element for each published port.

What the table should hold is kept here too, so that it can be written anew, whole, when an administrator has
flushed it or an engine starts again; nothing has to be cleaned up first. nft(8), conntrack(8).
"""

import errno
import ipaddress
import logging
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minidock.kernel.nftables import Nftables
from minidock.network import forwarding, rules

log = logging.getLogger(__name__)
ANY = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Rules:
    """What packets of one bridge may do: `subnets` are its own; an internal one reaches nobody else, and
    without `together` its containers do not reach each other.
    """

    bridge: str
    subnets: Sequence[str]
    masquerade: bool = True
    internal: bool = False
    together: bool = True

    def elements(self) -> dict[str, list[str]]:
        """Return the elements of the sets that make these rules."""
        found: dict[str, list[str]] = {"bridges": [f'"{self.bridge}"']}
        if self.together:
            found["same"] = [f'"{self.bridge}" . "{self.bridge}"']
        if self.internal:
            found["internal"] = [f'"{self.bridge}"']
        for subnet in map(str, map(ipaddress.ip_network, self.subnets)):
            family = "6" if ":" in subnet else "4"
            found.setdefault(f"subnets{family}", []).append(subnet)
            if self.masquerade and not self.internal:
                found.setdefault(f"masqueraded{family}", []).append(subnet)
        return found


@dataclass(frozen=True)
class Published:
    """One published port: packets to `host_address`:`host_port` go to `address`:`port`.

    A host address of 0.0.0.0 or :: means all of the host's addresses of that family.
    """

    protocol: str
    host_address: str
    host_port: int
    address: str
    port: int

    @property
    def is_translated(self) -> bool:
        """Whether NAT serves it: not on the loopback, and not from one address family to the other."""
        local = self.host_address.startswith("127.") or self.host_address == "::1"
        return not local and (":" in self.host_address) == (":" in self.address)

    def element(self, with_target: bool = True) -> tuple[str, str]:
        """Return the map and the element that publish this port."""
        family = "6" if ":" in self.host_address else "4"
        key = f"{self.protocol} . {self.host_port}"
        target = f" : {self.address} . {self.port}" if with_target else ""
        if self.host_address in ANY:
            return f"published{family}-any", key + target
        return f"published{family}", f"{self.host_address} . {key}{target}"


class Firewall:
    """The table of one engine. It is made with the first bridge. Safe to use from any thread."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._nft: Nftables | None = None
        self._lock = threading.Lock()
        self._bridges: dict[str, Rules] = {}
        self._published: dict[tuple[str, str], Published] = {}
        self._opened: dict[str, list[str]] = {}
        self._chains: dict[str, str] = {}
        self._present = False

    def add_bridge(self, wanted: Rules) -> None:
        """Let the bridge's packets pass as `wanted` says; does nothing when they do. OSError."""
        with self._lock:
            if self._bridges.get(wanted.bridge) == wanted and self._present:
                return
            before = self._bridges.get(wanted.bridge)
            self._bridges[wanted.bridge] = wanted
            try:
                if not self._present or before is not None:
                    self._write()
                else:
                    self._run(rules.change(self.table, "add", wanted.elements()))
                forwarding.allow(self._run_with_handles, self.table, self._bridges)
            except OSError:
                del self._bridges[wanted.bridge]
                raise

    def close_behind(self, opened: Mapping[str, Sequence[str]]) -> None:
        """Forward nothing from one of these interfaces to another; names by address family ("4", "6").

        Call it before the first bridge is added.
        """
        with self._lock:
            self._opened = {f"opened{family}": [f'"{name}"' for name in names]
                            for family, names in opened.items()}  # fmt: skip

    def remove_bridge(self, bridge: str) -> None:
        """Forget a bridge; with the last one the table goes."""
        with self._lock:
            former = self._bridges.pop(bridge, None)
            if former is None:
                return
            if self._bridges:
                self._withdraw(former.elements())
            else:
                self._remove()
            self._allow_forwarding()

    def remove_table(self) -> None:
        """Remove what a former engine of this name has left. Never fails."""
        with self._lock:
            self._remove()
            self._allow_forwarding()

    def publish(self, ports: Iterable[Published]) -> None:
        """Translate packets for these ports, all or none; those that need no NAT are left out. OSError."""
        wanted = [port for port in ports if port.is_translated]
        with self._lock:
            for port in wanted:
                self._published[port.element(False)] = port
            try:
                self._run(rules.change(self.table, "add", _grouped(wanted, True)))
            except OSError:
                for port in wanted:
                    self._published.pop(port.element(False), None)
                raise

    def unpublish(self, ports: Iterable[Published]) -> None:
        """Take published ports back. Never fails: what is gone already is gone."""
        with self._lock:
            mine = [port for port in ports if self._published.get(port.element(False)) == port]
            for port in mine:
                del self._published[port.element(False)]
            self._withdraw(_grouped(mine, False))

    def repair(self) -> bool:
        """Write the table anew if somebody has flushed or removed it; return whether that was so."""
        with self._lock:
            if not self._present:
                return False
            whole = self._is_whole()
            if not whole:
                self._write()
            self._allow_forwarding()
            return not whole

    def close(self) -> None:
        """Let go of the library; the rules stay."""
        with self._lock:
            if self._nft is not None:
                self._nft.close()
                self._nft = None

    def _write(self) -> None:
        elements = self._elements() | _grouped(self._published.values(), True)
        self._run(rules.table(self.table, elements))
        self._present = True
        listed = self._listed()
        self._chains = {part: listed[part] for part in listed if part not in rules.SETS | rules.MAPS}

    def _elements(self) -> dict[str, list[str]]:
        """Return what the sets are to hold."""
        found = {part: list(these) for part, these in self._opened.items()}
        for wanted in self._bridges.values():
            for part, these in wanted.elements().items():
                found.setdefault(part, []).extend(these)
        return found

    def _is_whole(self) -> bool:
        try:
            listed = self._listed()
            return (
                all(listed[part] == text for part, text in self._chains.items())
                and all(one in listed[part] for part, these in self._elements().items() for one in these)
                and sum(listed[part].count(" : ") - 1 for part in rules.MAPS) == len(self._published)
            )
        except (OSError, KeyError):
            return False

    def _listed(self) -> dict[str, str]:
        """Return the sets, maps and chains of the table as nft prints them."""
        text = self._run(f"list table inet {self.table}")
        return dict(re.findall(r"(?s)\t(?:set|map|chain) (\S+) \{(.*?)\n\t\}", text))

    def _remove(self) -> None:
        self._present = False
        try:
            self._run(f"delete table inet {self.table}")
        except OSError as error:
            if error.errno != errno.ENOENT:  # nobody has made it, or somebody was faster
                log.warning("cannot remove the nftables table %s: %s", self.table, error)

    def _withdraw(self, elements: Mapping[str, Iterable[str]]) -> None:
        listed = {part: list(these) for part, these in elements.items()}
        try:
            self._run(rules.change(self.table, "delete", listed))
        except OSError:  # one that is missing fails the whole transaction: write what should be there instead
            if self._present:
                self._write()

    def _allow_forwarding(self) -> None:
        try:
            forwarding.allow(self._run_with_handles, self.table, self._bridges)
        except OSError as error:
            log.warning("the accept rules in FORWARD are not as they should be: %s", error)

    def _run_with_handles(self, commands: str) -> str:
        if self._nft is None:
            self._nft = Nftables()
        return self._nft.run(commands, handles=True)

    def _run(self, commands: str) -> str:
        if not commands:
            return ""
        if self._nft is None:
            self._nft = Nftables()
        return self._nft.run(commands)


def _grouped(ports: Iterable[Published], with_target: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for port in ports:
        part, element = port.element(with_target)
        found.setdefault(part, []).append(element)
    return found
