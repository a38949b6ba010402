"""`minidock image diff A B`: which files make image B of image A; A added, C changed, D deleted."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.flags import Command, Options

LETTERS = "CAD"


def run(options: Options) -> int:
    """Print one line for each file that differs."""
    old, new = options.arguments
    for change in Client(options.host).call("GET", f"/images/{old}/changes", {"to": new}) or ():
        sys.stdout.write(f"{LETTERS[change['Kind']]} {change['Path']}\n")
    return 0


COMMANDS = {
    "image diff": Command(
        "image diff", "IMAGE IMAGE", "Show the files in which two images differ", run, (), (2, 2)
    )
}
