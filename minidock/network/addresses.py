"""IPAM: which addresses a subnet has left, and which subnets a host has left.

Addresses are handed out round-robin: one that was freed comes back last, since neighbours and conntrack
still remember who had it. Nothing is counted or stored: what is in use is told anew after a restart. RFC 1918
gives the ranges; the first ones are Docker's own default pools, in its order.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator

from minidock.errors import Conflict, InvalidParameter, MinidockError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

# (range, prefix length of one subnet); the last goes beyond Docker's, for hosts with many engines.
DEFAULT_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
    ("10.176.0.0/12", 20),
)


class Pool:
    """The addresses of one subnet. Not locked: its owner does that.

    `ip_range` limits what is handed out unasked; the gateway and `reserved` are never handed out, nor are a
    subnet's first address and an IPv4 subnet's last (broadcast).
    """

    def __init__(
        self,
        subnet: Subnet,
        gateway: Address | None = None,
        ip_range: Subnet | None = None,
        reserved: Iterable[Address] = (),
    ) -> None:
        self.subnet = subnet
        self.gateway = gateway
        self._range = ip_range or subnet
        self._used: set[int] = {int(address) for address in reserved}
        self._reserved = {int(subnet.network_address)} if subnet.num_addresses > 2 else set()
        if subnet.version == 4 and subnet.num_addresses > 2:
            self._reserved.add(int(subnet.broadcast_address))
        if gateway is not None:
            self._reserved.add(int(gateway))
        self._next = int(self._range.network_address)

    def allocate(self) -> Address:
        """Return the next free address after the last one handed out; Conflict when there is none."""
        first, last = int(self._range.network_address), int(self._range.broadcast_address)
        candidate = self._next
        for _ in range(len(self._used) + len(self._reserved) + 1):  # one of so many must be free
            if candidate > last:
                candidate = first
            if candidate not in self._used and candidate not in self._reserved:
                self._used.add(candidate)
                self._next = candidate + 1
                return self._address(candidate)
            candidate += 1
        raise Conflict(f"no available IPv{self.subnet.version} addresses on this network's address pools")

    def take(self, address: Address) -> None:
        """Hand out this very address; InvalidParameter when it is outside, Conflict when it is in use."""
        if address not in self.subnet or int(address) in self._reserved - self._gateway_only():
            raise InvalidParameter(f"no configured subnet contains IP address {address}")
        if int(address) in self._used or int(address) in self._reserved:
            raise Conflict("Address already in use")
        self._used.add(int(address))

    def occupy(self, address: Address) -> None:
        """Note that `address` is in use, whoever has it: after a restart, what runs is right."""
        self._used.add(int(address))
        if int(self._range.network_address) <= int(address) < int(self._range.broadcast_address):
            self._next = max(self._next, int(address) + 1)

    def release(self, address: Address) -> None:
        """Take `address` back; does nothing when it is free already."""
        self._used.discard(int(address))

    def _gateway_only(self) -> set[int]:
        return {int(self.gateway)} if self.gateway is not None else set()

    def _address(self, number: int) -> Address:
        return ipaddress.IPv4Address(number) if self.subnet.version == 4 else ipaddress.IPv6Address(number)


def free_subnet(taken: Collection[Subnet]) -> Subnet:
    """Return the first subnet of the default pools that overlaps none of `taken`.

    MinidockError in Docker's words when they are exhausted.
    """
    mine = [subnet for subnet in taken if subnet.version == 4 and subnet.prefixlen > 0]
    for subnet in _default_subnets():
        if not any(subnet.overlaps(other) for other in mine):
            return subnet
    raise MinidockError("all predefined address pools have been fully subnetted")


def unique_local_subnet(seed: bytes) -> Subnet:
    """Return the /64 of RFC 4193 that belongs to `seed`: the same for the same network on every start."""
    number = int.from_bytes(b"\xfd" + seed[:7].ljust(7, b"\0"), "big") << 64
    return ipaddress.IPv6Network((number, 64))


def parse_subnet(text: str) -> Subnet:
    """Return a subnet; InvalidParameter in Docker's words, also for one with host bits set."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidParameter(f"invalid subnet {text}: invalid CIDR block notation") from None
    raise InvalidParameter(f"invalid subnet {text}: it should be {network}")


def parse_address(text: str, what: str = "IP address") -> Address:
    """Return an address; InvalidParameter names `what` it was to be."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidParameter(f"invalid {what}: {text}") from None


def mac_of(address: Address) -> str:
    """Return the MAC address that goes with an address: 02:42 and its last four bytes, as Docker's began."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed[-4:])


def _default_subnets() -> Iterator[Subnet]:
    for text, prefix in DEFAULT_POOLS:
        yield from ipaddress.ip_network(text).subnets(new_prefix=prefix)
