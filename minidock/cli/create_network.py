"""`--network` and the flags that belong to the first one: `--ip`, `--network-alias`, `--link` and their kin.

Docker's rules, which it applies before it asks the engine: networks of one's own have aliases and links, the
others (default, bridge, host, none, container:X) have none, and the two kinds do not mix.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Options

    Body = dict[str, Any]

BUILT_IN = ("default", "bridge", "host", "none")
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# (field of a network, flag of the container, how docker calls the two when both are given)
OWN_AND_GENERAL = (
    ("alias", "network-alias", "alias"),
    ("ip", "ip", "IPv4 address"),
    ("ip6", "ip6", "IPv6 address"),
    ("mac-address", "mac-address", "MAC address"),
    ("link-local-ip", "link-local-ip", "link-local IP addresses"),
)
KEYS = ("name", "alias", "driver-opt", "ip", "ip6", "mac-address", "link-local-ip", "gw-priority")


def network(text: str) -> Body:
    """Convert `none`, `mynet` or `name=mynet,alias=db,ip=10.0.0.5,driver-opt=a=b`."""
    if "=" not in text or text == "name=":
        return {"name": text}
    chosen: Body = {"name": "", "alias": [], "driver-opt": {}, "link-local-ip": []}
    for field in text.split(","):
        key, equals, value = field.strip().partition("=")
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key not in KEYS:
            raise ValueError(f"invalid field key {key}")
        if key in ("alias", "link-local-ip"):
            chosen[key].append(value)
        elif key == "driver-opt":
            name, equals, setting = value.partition("=")
            if not equals:
                raise ValueError("invalid key value pair format in driver options")
            chosen[key][name] = setting
        elif key == "gw-priority":
            try:
                chosen[key] = int(value)
            except ValueError:
                problem = f'strconv.Atoi: parsing "{value}": invalid syntax'
                raise ValueError(f"invalid gw-priority ({value}): {problem}") from None
        else:
            chosen[key] = value
    if not chosen["name"]:
        raise ValueError("network name/id is not specified")
    return chosen


def endpoints(options: Options, host: Body) -> Body:
    """Set the network mode in `host` and return the endpoints by name; raise ValueError for a wrong mix."""
    chosen = [dict(one) for one in options["network"]] or [{"name": "default"}]
    host["NetworkMode"] = chosen[0]["name"]
    _take_general(options, chosen[0])
    found: Body = {}
    for one in chosen:
        name = one["name"]
        fields = _endpoint(one)
        if name in found:
            raise ValueError(f'network "{name}" is specified multiple times')
        found[name] = fields
    if len({is_own(name) for name in found}) > 1:
        raise ValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    has_words = not options["network"] or len(found) > 1 or any(found.values())
    return found if has_words else {}  # one network without more is named by the mode alone


def is_own(name: str) -> bool:
    """Return whether a network is one that a user has made."""
    return name not in BUILT_IN and not name.startswith("container:")


def check_mac(address: str) -> None:
    """Raise ValueError for what is no MAC address of six bytes."""
    parts = address.replace("-", ":").split(":")
    if address and not (
        len(parts) == 6 and all(len(part) == 2 and set(part) <= HEXADECIMAL for part in parts)
    ):
        raise ValueError(f"{address} is not a valid mac address")


def _take_general(options: Options, first: Body) -> None:
    for field, flag, word in OWN_AND_GENERAL:
        if options[flag] and first.get(field):
            raise ValueError(f"conflicting options: cannot specify both --{flag} and per-network {word}")
        first[field] = first.get(field) or options[flag]
    if is_own(first["name"]):
        first["link"] = options["link"]


def _endpoint(one: Body) -> Body:
    if not one["name"].strip():
        raise ValueError("no name set for network")
    if one.get("alias") and not is_own(one["name"]):
        raise ValueError("network-scoped aliases are only supported for user-defined networks")
    check_mac(one.get("mac-address", ""))
    addresses = {
        "IPv4Address": one.get("ip"),
        "IPv6Address": one.get("ip6"),
        "LinkLocalIPs": one.get("link-local-ip"),
    }
    fields: Body = {
        "IPAMConfig": {name: value for name, value in addresses.items() if value},
        "Aliases": one.get("alias"),
        "Links": one.get("link"),
        "MacAddress": one.get("mac-address"),
        "DriverOpts": one.get("driver-opt"),
        "GwPriority": one.get("gw-priority"),
    }
    return {name: value for name, value in fields.items() if value}
