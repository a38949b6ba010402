"""`minidock diff`: what a container has added, changed and deleted."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.flags import Command, Options

KINDS = "CAD"


def run(options: Options) -> int:
    """Print one line for each change."""
    name = options.arguments[0]
    for change in Client(options.host).call("GET", f"/containers/{name}/changes") or ():
        sys.stdout.write(f"{KINDS[change['Kind']]} {change['Path']}\n")
    return 0


COMMANDS = {
    "diff": Command(
        "diff",
        "CONTAINER",
        "Inspect changes to files or directories on a container's filesystem",
        run,
        (),
        (1, 1),
        aliases="container diff, diff",
    )
}
