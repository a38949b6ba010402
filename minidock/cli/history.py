"""`minidock history`: the steps that made an image."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing
from minidock.cli.units import ago, ellipsis, rfc3339, short_id, size

HEADERS = {
    "Comment": "COMMENT",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "CreatedSince": "CREATED",
    "ID": "IMAGE",
    "Size": "SIZE",
}
COLUMNS = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
TYPE_NAME = "*image.historyContext"


def run(options: Options) -> int:
    """Print the history of one image, newest step first."""
    truncate, human = not options["no-trunc"], options["human"]
    listing = Listing(HEADERS, COLUMNS, TYPE_NAME, options["format"], USUAL)
    rows = []
    for step in Client(options.host).call("GET", f"/images/{options.arguments[0]}/history") or ():
        created, command = step["Created"], step["CreatedBy"].replace("\t", " ")
        rows.append(
            {
                "Comment": step["Comment"],
                "CreatedAt": rfc3339(created) if created > 0 else "",
                "CreatedBy": ellipsis(command, 45) if truncate else command,
                "CreatedSince": ago(created) if human else rfc3339(created),
                "ID": short_id(step["Id"]) if truncate else step["Id"],
                "Size": size(step["Size"], 3) if human else str(step["Size"]),
            }
        )
    if options["quiet"]:
        sys.stdout.writelines(f"{row['ID']}\n" for row in rows)
    else:
        if not human:
            listing.headers = {**HEADERS, "CreatedSince": HEADERS["CreatedAt"]}
        listing.write(rows)
    return 0


COMMANDS = {
    "history": Command(
        "history",
        "[OPTIONS] IMAGE",
        "Show the history of an image",
        run,
        (
            Flag("format", "", "string", "FORMAT"),
            Flag("human", "H", "bool", "Print sizes and dates in human readable format", None, True, "true"),
            Flag("no-trunc", "", "bool", "Don't truncate output"),
            Flag("quiet", "q", "bool", "Only show image IDs"),
        ),
        (1, 1),
        aliases="image history, history",
    )
}
