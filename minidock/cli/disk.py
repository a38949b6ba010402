"""`minidock system df`: what images, containers, volumes and builds take on the disk, and what could go."""

from __future__ import annotations

from minidock.cli.client import Client
from minidock.cli.failure import PROGRAM
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
TYPE_NAME = "*formatter.diskUsageImagesContext"
ACTIVE_STATES = ("running", "paused", "restarting")


def run(options: Options) -> int:
    """Print one row for each kind, or all that there is of each."""
    if options["verbose"]:
        from minidock.cli import disk_details

        return disk_details.run(options)
    listing = Listing(HEADERS, tuple(HEADERS), TYPE_NAME, options["format"], USUAL)
    usage = Client(options.host).call("GET", "/system/df")
    listing.write(
        [
            _row("Images", *_images(usage)),
            _row("Containers", *_containers(usage.get("Containers") or [])),
            _row("Local Volumes", *_volumes(usage.get("Volumes") or [])),
            _row("Build Cache", len(usage.get("BuildCache") or []), 0, 0, 0, False),
        ]
    )
    return 0


def _images(usage: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return count, count in use, bytes, bytes that could go: what images in use do not need."""
    found = usage.get("Images") or []
    active = [image for image in found if image["Containers"] > 0]
    used = sum(image["Size"] - max(image["SharedSize"], 0) for image in active)
    whole = usage.get("LayersSize") or 0
    return len(found), len(active), whole, whole - used


def _containers(found: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    sizes = [(each.get("SizeRw") or 0, each["State"] in ACTIVE_STATES) for each in found]
    whole = sum(length for length, _ in sizes)
    idle = sum(length for length, active in sizes if not active)
    return len(found), sum(active for _, active in sizes), whole, idle


def _volumes(found: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    usages = [each.get("UsageData") or {"Size": 0, "RefCount": 0} for each in found]
    whole = sum(max(usage["Size"], 0) for usage in usages)
    idle = sum(max(usage["Size"], 0) for usage in usages if usage["RefCount"] == 0)
    return len(found), sum(usage["RefCount"] > 0 for usage in usages), whole, idle


def _row(
    kind: str, total: int, active: int, whole: int, reclaimable: int, has_share: bool = True
) -> dict[str, Any]:
    share = f" ({reclaimable * 100 // whole}%)" if has_share and whole > 0 else ""
    return {
        "Active": str(active),
        "Reclaimable": f"{size(reclaimable)}{share}",
        "Size": size(whole),
        "TotalCount": str(total),
        "Type": kind,
    }


COMMANDS = {
    "system df": Command(
        "system df",
        "[OPTIONS]",
        f"Show {PROGRAM} disk usage",
        run,
        (
            Flag("format", "", "string", "FORMAT"),
            Flag("verbose", "v", "bool", "Show detailed information on space usage"),
        ),
    )
}
