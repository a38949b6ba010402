"""`minidock system df -v`: what each image, container and volume takes on the disk."""

from __future__ import annotations

import sys

from minidock.cli import images, ps, volume
from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.listing import Listing
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minidock.cli.flags import Options

BUILD_HEADERS = {
    "ID": "CACHE ID",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
}
IMAGE_COLUMNS = (*images.COLUMNS, "SharedSize", "UniqueSize", "Containers")
CONTAINER_COLUMNS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
VOLUME_COLUMNS = ("Name", "Links", "Size")


def run(options: Options) -> int:
    """Print each image, container and volume with its size."""
    if options["format"] not in ("", "table"):
        raise Failure("the verbose and the format options conflict")
    usage = Client(options.host).call("GET", "/system/df")
    found = usage.get("Images") or []
    shown = [images.row(one, names, True) for one in found for names in images.references(one, False)]
    _table("Images", images.HEADERS, IMAGE_COLUMNS, shown)
    containers = usage.get("Containers") or []
    shown = [ps.row({**one, "SizeRootFs": 0}, True) for one in containers]  # the image is counted above
    _table("Containers", ps.HEADERS, CONTAINER_COLUMNS, shown)
    shown = [volume.row(one) for one in usage.get("Volumes") or []]
    _table("Local Volumes", volume.HEADERS, VOLUME_COLUMNS, shown)
    builds = usage.get("BuildCache") or []  # empty: what builds keep are images
    sys.stdout.write(f"\nBuild cache usage: {size(sum(one['Size'] for one in builds))}\n\n")
    Listing(BUILD_HEADERS, tuple(BUILD_HEADERS), "").write([])
    return 0


def _table(title: str, headers: dict[str, str], columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"{title} space usage:\n\n" if title == "Images" else f"\n{title} space usage:\n\n")
    Listing(headers, columns, "").write(rows)
