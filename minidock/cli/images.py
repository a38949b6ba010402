"""`minidock images`: one row for each name an image has."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, filters
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing
from minidock.cli.units import ago, local_time, short_id, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HEADERS = {
    "Containers": "CONTAINERS",
    "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "SharedSize": "SHARED SIZE",
    "Size": "SIZE",
    "Tag": "TAG",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
DIGEST_COLUMNS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
TYPE_NAME = "*formatter.imageContext"
NONE = "<none>"


def run(options: Options) -> int:
    """List the images."""
    truncate = not options["no-trunc"]
    if options["tree"]:
        from minidock.cli.tree import draw

        return draw(Client(options.host), "".join(options.arguments), truncate)
    digests: bool = options["digests"]
    listing = Listing(HEADERS, DIGEST_COLUMNS if digests else COLUMNS, TYPE_NAME, options["format"], USUAL)
    chosen = options["filter"] + [("reference", name) for name in options.arguments]
    answer = Client(options.host).call(
        "GET", "/images/json", {"all": options["all"], "filters": filters(chosen)}
    )
    found = [
        row(item, names, truncate)
        for item in answer or ()
        for names in references(item, digests or listing.uses("Digest"))
    ]
    if options["quiet"]:
        sys.stdout.writelines(f"{item['ID']}\n" for item in found)
    else:
        listing.write(found)
    return 0


def references(item: dict[str, Any], digests: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (repository, tag, digest) for each row that an image gets."""
    tags: dict[str, list[str]] = {}
    by_digest: dict[str, list[str]] = {}
    for reference in item.get("RepoTags") or ():
        repository, _, tag = reference.rpartition(":")
        if repository != NONE:
            tags.setdefault(repository, []).append(tag)
    for reference in item.get("RepoDigests") or ():
        repository, _, digest = reference.partition("@")
        if repository != NONE:
            by_digest.setdefault(repository, []).append(digest)
    if not tags and not by_digest:
        yield NONE, NONE, NONE
    for repository, names in tags.items():
        known = by_digest.pop(repository, []) if digests else by_digest.pop(repository, [])[:0]
        for tag in names:
            for digest in known or [NONE]:
                yield repository, tag, digest
    for repository, known in by_digest.items():
        for digest in known if digests else [NONE]:
            yield repository, NONE, digest


def row(item: dict[str, Any], names: tuple[str, str, str], truncate: bool) -> dict[str, Any]:
    """Return the fields of one image under one of its names."""
    repository, tag, digest = names
    shared, containers = item.get("SharedSize", -1), item.get("Containers", -1)
    return {
        "Containers": "N/A" if containers == -1 else str(containers),
        "CreatedAt": local_time(item["Created"]),
        "CreatedSince": ago(item["Created"]),
        "Digest": digest,
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "Repository": repository,
        "SharedSize": "N/A" if shared == -1 else size(shared),
        "Size": size(item["Size"], 3),
        "Tag": tag,
        "UniqueSize": "N/A" if shared == -1 else size(item["Size"] - shared),
        "VirtualSize": size(item["Size"]),
    }


COMMANDS = {
    "images": Command(
        "images",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        run,
        (
            Flag("all", "a", "bool", "Show all images (default hides intermediate images)"),
            Flag("digests", "", "bool", "Show digests"),
            Flag("filter", "f", "filter", "Filter output based on conditions provided"),
            Flag("format", "", "string", "FORMAT"),
            Flag("no-trunc", "", "bool", "Don't truncate output"),
            Flag("quiet", "q", "bool", "Only show image IDs"),
            Flag("tree", "", "bool", "List images in tree format, as Docker did until 2014"),
        ),
        (0, 1),
        aliases="image ls, image list, images",
    )
}
