"""Making the host forward packets, for containers only.

Forwarding is one switch for all interfaces. A host that was no router before must not become one between its
other networks, so it is remembered which interfaces there were when the switch was turned on, and the rules
let nothing through from them except to containers. Interfaces that come later belong to somebody who knows
that the host forwards. The record lies in the exec root, which a reboot clears like the switch. ip-sysctl.
"""

import contextlib
import json
import os
import socket

from minidock import atomic
from minidock.network import links

SWITCHES = {"4": "net/ipv4/ip_forward", "6": "net/ipv6/conf/all/forwarding"}
Opened = dict[str, list[str]]
"""Interface names by address family."""


def turn_on(record: str, with_ipv6: bool) -> Opened:
    """Turn forwarding on and return the interfaces that forwarded nothing before us; `record` is a path."""
    opened = recall(record)
    for family, name in SWITCHES.items():
        if (family == "4" or with_ipv6) and not _is_on(name):
            opened[family] = sorted(interface for _, interface in socket.if_nameindex())
            atomic.write_state(record, json.dumps(opened, indent=2).encode() + b"\n")
            links.set_sysctl(name, "1")
    return opened


def recall(record: str) -> Opened:
    """Return what an earlier engine of this exec root has recorded, while the switches are still on."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(record, "rb") as file:
        found = json.load(file)
        return {family: list(found.get(family, [])) for family, name in SWITCHES.items() if _is_on(name)}
    return {}


def _is_on(name: str) -> bool:
    if not os.path.exists(f"/proc/sys/{name}"):
        return True  # a kernel without IPv6 has nothing to turn on
    with open(f"/proc/sys/{name}", encoding="ascii") as file:
        return file.read().strip() == "1"
