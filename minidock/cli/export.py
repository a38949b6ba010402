"""`minidock export`: a container's files as a tar."""

from __future__ import annotations

from minidock.cli import output
from minidock.cli.client import Client
from minidock.cli.flags import Command, Flag, Options


def run(options: Options) -> int:
    """Write the tar to a file or to the output."""
    path = f"/containers/{options.arguments[0]}/export"
    output.write(options["output"], lambda: Client(options.host).open("GET", path), "export container")
    return 0


COMMANDS = {
    "export": Command(
        "export",
        "[OPTIONS] CONTAINER",
        "Export a container's filesystem as a tar archive",
        run,
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),),
        (1, 1),
        aliases="container export, export",
    )
}
