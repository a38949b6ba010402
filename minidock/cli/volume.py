"""`minidock volume`: make, list and remove volumes."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, filters
from minidock.cli.create_values import label
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing, label_of
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Availability": "AVAILABILITY",
    "Driver": "DRIVER",
    "Group": "GROUP",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}
COLUMNS = ("Driver", "Name")
TYPE_NAME = "*formatter.volumeContext"
UNKNOWN = "N/A"


def create(options: Options) -> int:
    """Make a volume and print its name."""
    body: dict[str, Any] = {
        "Name": (*options.arguments, "")[0],
        "Driver": options["driver"],
        "DriverOpts": _pairs(options["opt"]),
        "Labels": _pairs(options["label"]),
    }
    made = Client(options.host).call("POST", "/volumes/create", None, body)
    sys.stdout.write(f"{made['Name']}\n")
    return 0


def _pairs(texts: list[str]) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in texts)


def list_all(options: Options) -> int:
    """List the volumes by name."""
    listing = Listing(HEADERS, COLUMNS, TYPE_NAME, options["format"], USUAL)
    answer = Client(options.host).call("GET", "/volumes", {"filters": filters(options["filter"])})
    found = sorted((answer or {}).get("Volumes") or (), key=lambda item: str(item["Name"]))
    if options["quiet"]:
        sys.stdout.writelines(f"{item['Name']}\n" for item in found)
    else:
        listing.write([row(item) for item in found])
    return 0


def row(item: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of one volume."""
    usage = item.get("UsageData")
    labels = item.get("Labels") or {}
    return {
        "Availability": UNKNOWN,
        "Driver": item["Driver"],
        "Group": UNKNOWN,
        "Label": label_of(labels),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Links": UNKNOWN if usage is None else str(usage["RefCount"]),
        "Mountpoint": item["Mountpoint"],
        "Name": item["Name"],
        "Scope": item["Scope"],
        "Size": UNKNOWN if usage is None else size(usage["Size"]),
        "Status": UNKNOWN,
    }


def remove(options: Options) -> int:
    """Remove each volume and print its name; report the failures at the end."""
    client = Client(options.host)
    errors: list[str] = []
    for name in options.arguments:
        try:
            client.call("DELETE", f"/volumes/{name}", {"force": options["force"]})
        except EngineError as error:
            errors.append(str(error))
            continue
        sys.stdout.write(f"{name}\n")
    if errors:
        raise Failure("\n".join(errors))
    return 0


def prune(options: Options) -> int:
    """Remove the volumes that nobody uses, once the user has agreed."""
    chosen = list(options["filter"])
    if options["all"]:
        if any(name == "all" for name, _ in chosen):
            raise Failure("conflicting options: cannot specify both --all and --filter all=1")
        chosen.append(("all", "true"))
    what = "all" if options["all"] else "anonymous"
    if not options["force"]:
        sys.stdout.write(
            f"WARNING! This will remove {what} local volumes not used by at least one container.\n"
            "Are you sure you want to continue? [y/N] "
        )
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("volume prune has been cancelled")
    answer = Client(options.host).call("POST", "/volumes/prune", {"filters": filters(chosen)}) or {}
    gone = answer.get("VolumesDeleted") or []
    if gone:
        sys.stdout.write("Deleted Volumes:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    sys.stdout.write(f"Total reclaimed space: {size(answer.get('SpaceReclaimed', 0))}\n")
    return 0


FILTER_ABOUT = 'Provide filter values (e.g. "{}")'
COMMANDS = {
    "volume create": Command(
        "create",
        "[OPTIONS] [VOLUME]",
        "Create a volume",
        create,
        (
            Flag("driver", "d", "string", "Specify volume driver name", default="local", shown='"local"'),
            Flag("label", "", "list", "Set metadata for a volume", label),
            Flag("opt", "o", "map", "Set driver specific options", repeats=True, shown="map[]"),
        ),
        (0, 1),
    ),
    "volume ls": Command(
        "ls",
        "[OPTIONS]",
        "List volumes",
        list_all,
        (
            Flag("filter", "f", "filter", FILTER_ABOUT.format("dangling=true")),
            Flag("format", "", "string", "FORMAT"),
            Flag("quiet", "q", "bool", "Only display volume names"),
        ),
        aliases="volume ls, volume list",
    ),
    "volume prune": Command(
        "prune",
        "[OPTIONS]",
        "Remove unused local volumes",
        prune,
        (
            Flag("all", "a", "bool", "Remove all unused volumes, not just anonymous ones"),
            Flag("filter", "", "filter", FILTER_ABOUT.format("label=<label>")),
            Flag("force", "f", "bool", "Do not prompt for confirmation"),
        ),
    ),
    "volume rm": Command(
        "rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
        remove,
        (Flag("force", "f", "bool", "Force the removal of one or more volumes"),),
        (1, None),
        aliases="volume rm, volume remove",
    ),
}
COMMANDS["volume list"] = COMMANDS["volume ls"]
COMMANDS["volume remove"] = COMMANDS["volume rm"]
