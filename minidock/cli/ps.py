"""`minidock ps`: the containers, newest first."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, filters
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import Listing, label_of
from minidock.cli.units import ago, ellipsis, local_time, short_id, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "Ports": "PORTS",
    "RunningFor": "CREATED",
    "Size": "SIZE",
    "State": "STATE",
    "Status": "STATUS",
}
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
TYPE_NAME = "*formatter.ContainerContext"


def run(options: Options) -> int:
    """List the containers."""
    truncate = not options["no-trunc"]
    columns = (*COLUMNS, "Size") if options["size"] else COLUMNS
    listing = Listing(HEADERS, columns, TYPE_NAME, options["format"])
    limit = 1 if options["latest"] and options["last"] < 0 else options["last"]
    answer = Client(options.host).call(
        "GET",
        "/containers/json",
        {
            "all": options["all"],
            "limit": limit if limit > 0 else None,
            "size": options["size"] or (not options["quiet"] and listing.uses("Size")),
            "filters": filters(options["filter"]),
        },
    )
    if options["quiet"]:
        if options["format"]:
            sys.stderr.write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
        sys.stdout.writelines(f"{item['Id'][:12] if truncate else item['Id']}\n" for item in answer or ())
        return 0
    listing.write([row(item, truncate) for item in answer or ()])
    return 0


def row(item: dict[str, Any], truncate: bool) -> dict[str, Any]:
    """Return the fields of one container, from the API's summary of it."""
    labels: dict[str, str] = item.get("Labels") or {}
    mounts: list[dict[str, Any]] = item.get("Mounts") or []
    sources = [mount.get("Name") or mount.get("Source", "") for mount in mounts]
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "Command": _quoted(ellipsis(item["Command"], 20) if truncate else item["Command"]),
        "CreatedAt": local_time(item["Created"]),
        "ID": item["Id"][:12] if truncate else item["Id"],
        "Image": _image(item, truncate),
        "Label": label_of(labels),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(ellipsis(source, 15) if truncate else source for source in sources),
        "Names": names(item.get("Names") or [], truncate),
        "Networks": ",".join(networks),
        "Platform": (item.get("ImageManifestDescriptor") or {}).get("platform"),
        "Ports": ports(item.get("Ports") or []),
        "RunningFor": ago(item["Created"]),
        "Size": _size(item),
        "State": item.get("State", ""),
        "Status": item.get("Status", ""),
    }


def names(given: list[str], truncate: bool) -> str:
    """Return the names without their slash; the second names that links make only when not truncating."""
    bare = [name.removeprefix("/") for name in given]
    own = [name for name in bare if "/" not in name]
    return own[0] if truncate and own else ",".join(bare)


def ports(given: list[dict[str, Any]]) -> str:
    """Return published and exposed ports, neighbours as ranges: `443/tcp, 0.0.0.0:8080->80/tcp`."""
    groups: dict[tuple[str, str], list[list[int]]] = {}
    mapped: list[str] = []
    for port in sorted(
        given, key=lambda p: (p["PrivatePort"], p.get("IP", ""), p.get("PublicPort", 0), p["Type"])
    ):
        address, private, public = port.get("IP", ""), port["PrivatePort"], port.get("PublicPort", 0)
        if address and public != private:
            mapped.append(f"{_endpoint(address, str(public))}->{private}/{port['Type']}")
            continue
        ranges = groups.setdefault((address, port["Type"]), [])
        if ranges and ranges[-1][1] + 1 == private:
            ranges[-1][1] = private
        else:
            ranges.append([private, private])
    # a range that was interrupted comes before the last range of every group: docker's order
    order = [(key, span) for key, spans in groups.items() for span in spans[:-1]]
    order += [(key, spans[-1]) for key, spans in groups.items()]
    shown: list[str] = []
    for (address, protocol), (first, last) in order:
        span = str(first) if first == last else f"{first}-{last}"
        shown.append((f"{_endpoint(address, span)}->" if address else "") + f"{span}/{protocol}")
    return ", ".join(shown + mapped)


def _endpoint(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _image(item: dict[str, Any], truncate: bool) -> str:
    name = str(item.get("Image", ""))
    if not name:
        return "<no image>"
    if truncate and short_id(name) == short_id(item.get("ImageID", "")):
        return short_id(name)
    if truncate and "@" in name:
        return name.partition("@")[0]
    return name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for raw, spelled in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        escaped = escaped.replace(raw, spelled)
    return f'"{escaped}"'


def _size(item: dict[str, Any]) -> str:
    written, total = item.get("SizeRw") or 0, item.get("SizeRootFs") or 0
    return size(written, 3) + (f" (virtual {size(total, 3)})" if total > 0 else "")


COMMANDS = {
    "ps": Command(
        "ps",
        "[OPTIONS]",
        "List containers",
        run,
        (
            Flag("all", "a", "bool", "Show all containers (default shows just running)"),
            Flag("filter", "f", "filter", "Filter output based on conditions provided"),
            Flag("format", "", "string", "FORMAT"),
            Flag("last", "n", "int", "Show n last created containers (includes all states)", None, -1, "-1"),
            Flag("latest", "l", "bool", "Show the latest created container (includes all states)"),
            Flag("no-trunc", "", "bool", "Don't truncate output"),
            Flag("quiet", "q", "bool", "Only display container IDs"),
            Flag("size", "s", "bool", "Display total file sizes"),
        ),
        aliases="container ls, container list, container ps, ps",
    )
}
