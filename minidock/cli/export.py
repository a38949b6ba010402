"""`minidock export`: a container's files as a tar."""

from __future__ import annotations

import os
import sys

from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options


def run(options: Options) -> int:
    """Write the tar to the output; a file gets its name only when it is complete."""
    path = options["output"]
    if not path and sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    directory = os.path.dirname(os.path.normpath(path)) if path else ""
    if directory and not os.path.isdir(directory):
        raise Failure(
            f'failed to export container: invalid output path: directory "{directory}" does not exist'
        )
    response = Client(options.host).open("GET", f"/containers/{options.arguments[0]}/export")
    if not path:
        for block in response.blocks():
            sys.stdout.buffer.write(block)
        return 0
    temporary = f"{path}.partial-{os.getpid()}"
    with open(temporary, "wb") as file:
        try:
            file.writelines(response.blocks())
            file.flush()
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
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
