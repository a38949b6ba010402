"""`minidock network`: make, list and remove networks, let containers join and leave them."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, filters
from minidock.cli.create_values import label
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing, label_of
from minidock.cli.units import go_time, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "CreatedAt": "CREATED AT",
    "Driver": "DRIVER",
    "ID": "NETWORK ID",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "Name": "NAME",
    "Scope": "SCOPE",
}
COLUMNS = ("ID", "Name", "Driver", "Scope")
TYPE_NAME = "*network.networkContext"
QUESTION = (
    "WARNING! This will remove all custom networks not used by at least one container.\n"
    "Are you sure you want to continue? [y/N] "
)


def create(options: Options) -> int:
    """Make a network and print its id."""
    ipv4, ipv6 = ((options[name] if name in options else None) for name in ("ipv4", "ipv6"))  # noqa: SIM401
    body: dict[str, Any] = {
        "Name": options.arguments[0],
        "Driver": options["driver"],
        "Scope": options["scope"],
        "EnableIPv4": ipv4,
        "EnableIPv6": ipv6,
        "IPAM": {
            "Driver": options["ipam-driver"],
            "Options": _pairs(options["ipam-opt"]),
            "Config": _subnets(options),
        },
        "Internal": options["internal"],
        "Attachable": options["attachable"],
        "Ingress": options["ingress"],
        "ConfigOnly": options["config-only"],
        "Options": _pairs(options["opt"]),
        "Labels": _pairs(options["label"]),
    }
    if options["config-from"]:
        body["ConfigFrom"] = {"Network": options["config-from"]}
    made = Client(options.host).call("POST", "/networks/create", None, body)
    if made.get("Warning"):
        sys.stderr.write(f"WARNING: {made['Warning']}\n")
    sys.stdout.write(f"{made['Id']}\n")
    return 0


def _subnets(options: Options) -> list[dict[str, Any]]:
    """Return the subnets, each with the ranges, gateways and reserved addresses that lie in it."""
    import ipaddress

    found: dict[str, dict[str, Any]] = {}
    if len(_words(options["subnet"])) < max(
        map(len, (_words(options["ip-range"]), _words(options["gateway"])))
    ):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    for text in _words(options["subnet"]):
        if any(_overlap(text, other) for other in found):
            raise Failure("multiple overlapping subnet configuration is not supported")
        found[text] = {"Subnet": text}
    auxiliary = _pairs(options["aux-address"])
    placed = [("IPRange", text, "") for text in _words(options["ip-range"])]
    placed += [("Gateway", text, "") for text in _words(options["gateway"])]
    placed += [("AuxiliaryAddresses", text, name) for name, text in auxiliary.items()]
    for field, text, name in placed:
        try:
            address = ipaddress.ip_address(text.partition("/")[0])
            home = next(
                one for key, one in found.items() if address in ipaddress.ip_network(key, strict=False)
            )
        except (ValueError, StopIteration):
            what = {"IPRange": "range", "Gateway": "gateway"}.get(field, "aux-address")
            raise Failure(f"no matching subnet for {what} {text}") from None
        if name:
            home.setdefault(field, {})[name] = text
        elif field in home:
            raise Failure(f"cannot configure multiple {field.lower()}s for one subnet: {text}")
        else:
            home[field] = text
    return list(found.values())


def _overlap(one: str, other: str) -> bool:
    import ipaddress

    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in (one, other)]
    except ValueError:
        return False  # the engine says what is wrong with it
    return networks[0].version == networks[1].version and networks[0].overlaps(networks[1])


def list_all(options: Options) -> int:
    """List the networks by name."""
    listing = Listing(HEADERS, COLUMNS, TYPE_NAME, options["format"], USUAL)
    truncate = not options["no-trunc"]
    answer = Client(options.host).call("GET", "/networks", {"filters": filters(options["filter"])})
    found = sorted(answer or (), key=lambda item: str(item["Name"]))
    if options["quiet"]:
        sys.stdout.writelines(f"{short_id(item['Id']) if truncate else item['Id']}\n" for item in found)
    else:
        listing.write([row(item, truncate) for item in found])
    return 0


def row(item: dict[str, Any], truncate: bool) -> dict[str, Any]:
    """Return the fields of one network."""
    labels = item.get("Labels") or {}
    return {
        "CreatedAt": go_time(item["Created"]),
        "Driver": item["Driver"],
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "IPv4": str(item.get("EnableIPv4", True)).lower(),
        "IPv6": str(item["EnableIPv6"]).lower(),
        "Internal": str(item["Internal"]).lower(),
        "Label": label_of(labels),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Name": item["Name"],
        "Scope": item["Scope"],
    }


def remove(options: Options) -> int:
    """Remove each network and print its name; report the failures at the end."""
    client = Client(options.host)
    errors: list[str] = []
    for name in options.arguments:
        try:
            client.call("DELETE", f"/networks/{name}")
        except EngineError as error:
            if not (options["force"] and error.status == 404):
                errors.append(str(error))
            continue
        sys.stdout.write(f"{name}\n")
    if errors:
        raise Failure("\n".join([*errors, "exit status 1"]))
    return 0


def connect(options: Options) -> int:
    """Let a container join a network."""
    addresses = {"IPv4Address": options["ip"], "IPv6Address": options["ip6"]}
    addresses = {name: value for name, value in addresses.items() if value}
    links = _words(options["link-local-ip"])
    endpoint: dict[str, Any] = {
        "IPAMConfig": {**addresses, **({"LinkLocalIPs": links} if links else {})},
        "Links": options["link"],
        "Aliases": _words(options["alias"]),
        "DriverOpts": _pairs(_words(options["driver-opt"])),
        "GwPriority": options["gw-priority"],
    }
    network, container = options.arguments
    body = {"Container": container, "EndpointConfig": endpoint}
    Client(options.host).call("POST", f"/networks/{network}/connect", None, body)
    return 0


def disconnect(options: Options) -> int:
    """Let a container leave a network."""
    network, container = options.arguments
    body = {"Container": container, "Force": options["force"]}
    Client(options.host).call("POST", f"/networks/{network}/disconnect", None, body)
    return 0


def prune(options: Options) -> int:
    """Remove the networks that no container is in, once the user has agreed."""
    if not options["force"]:
        sys.stdout.write(QUESTION)
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("network prune has been cancelled")
    answer = Client(options.host).call("POST", "/networks/prune", {"filters": filters(options["filter"])})
    gone = (answer or {}).get("NetworksDeleted") or []
    if gone:
        sys.stdout.write("Deleted Networks:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    return 0


def _words(texts: list[str]) -> list[str]:
    return [word for text in texts for word in text.split(",") if word]


def _pairs(texts: list[str]) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in texts)


def _strings(name: str, about: str) -> Flag:
    return Flag(name, "", "strings", about, repeats=True)


def _map(name: str, short: str, about: str) -> Flag:
    return Flag(name, short, "map", about, repeats=True, shown="map[]")


COMMANDS = {
    "network create": Command(
        "create",
        "[OPTIONS] NETWORK",
        "Create a network",
        create,
        (
            Flag("attachable", "", "bool", "Enable manual container attachment"),
            _map("aux-address", "", "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
            Flag("config-from", "", "string", "The network from which to copy the configuration"),
            Flag("config-only", "", "bool", "Create a configuration only network"),
            Flag("driver", "d", "string", "Driver to manage the Network", default="bridge", shown='"bridge"'),
            _strings("gateway", "IPv4 or IPv6 Gateway for the master subnet"),
            Flag("ingress", "", "bool", "Create swarm routing-mesh network"),
            Flag("internal", "", "bool", "Restrict external access to the network"),
            _strings("ip-range", "Allocate container ip from a sub-range"),
            Flag(
                "ipam-driver",
                "",
                "string",
                "IP Address Management Driver",
                default="default",
                shown='"default"',
            ),
            _map("ipam-opt", "", "Set IPAM driver specific options"),
            Flag("ipv4", "", "bool", "Enable or disable IPv4 address assignment", default=True, shown="true"),
            Flag("ipv6", "", "bool", "Enable or disable IPv6 address assignment"),
            Flag("label", "", "list", "Set metadata on a network", label),
            _map("opt", "o", "Set driver specific options"),
            Flag("scope", "", "string", "Control the network's scope"),
            _strings("subnet", "Subnet in CIDR format that represents a network segment"),
        ),
        (1, 1),
    ),
    "network connect": Command(
        "connect",
        "[OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network",
        connect,
        (
            _strings("alias", "Add network-scoped alias for the container"),
            _strings("driver-opt", "driver options for the network"),
            Flag(
                "gw-priority",
                "",
                "int",
                "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
                default=0,
            ),
            Flag("ip", "", "string", 'IPv4 address (e.g., "172.30.100.104")'),
            Flag("ip6", "", "string", 'IPv6 address (e.g., "2001:db8::33")'),
            Flag("link", "", "list", "Add link to another container"),
            _strings("link-local-ip", "Add a link-local address for the container"),
        ),
        (2, 2),
    ),
    "network disconnect": Command(
        "disconnect",
        "[OPTIONS] NETWORK CONTAINER",
        "Disconnect a container from a network",
        disconnect,
        (Flag("force", "f", "bool", "Force the container to disconnect from a network"),),
        (2, 2),
    ),
    "network ls": Command(
        "ls",
        "[OPTIONS]",
        "List networks",
        list_all,
        (
            Flag("filter", "f", "filter", 'Provide filter values (e.g. "driver=bridge")'),
            Flag("format", "", "string", "FORMAT"),
            Flag("no-trunc", "", "bool", "Do not truncate the output"),
            Flag("quiet", "q", "bool", "Only display network IDs"),
        ),
        aliases="network ls, network list",
    ),
    "network prune": Command(
        "prune",
        "[OPTIONS]",
        "Remove all unused networks",
        prune,
        (
            Flag("filter", "", "filter", 'Provide filter values (e.g. "until=<timestamp>")'),
            Flag("force", "f", "bool", "Do not prompt for confirmation"),
        ),
    ),
    "network rm": Command(
        "rm",
        "NETWORK [NETWORK...]",
        "Remove one or more networks",
        remove,
        (Flag("force", "f", "bool", "Do not error if the network does not exist"),),
        (1, None),
        aliases="network rm, network remove",
    ),
}
COMMANDS["network list"] = COMMANDS["network ls"]
COMMANDS["network remove"] = COMMANDS["network rm"]
