"""`minidock top`: the processes of a container, as the host's ps shows them."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.flags import Command, Options
from minidock.cli.table import align

WIDTH_MINIMUM = 20


def run(options: Options) -> int:
    """Print the process table; what follows the container are options of ps."""
    container, *ps = options.arguments
    answer = Client(options.host).call("GET", f"/containers/{container}/top", {"ps_args": " ".join(ps)})
    lines = ["\t".join(cells) for cells in (answer["Titles"], *(answer.get("Processes") or ()))]
    sys.stdout.write(align("\n".join(lines), WIDTH_MINIMUM) + "\n")
    return 0


COMMANDS = {
    "top": Command(
        "top",
        "CONTAINER [ps OPTIONS]",
        "Display the running processes of a container",
        run,
        (),
        (1, None),
        stops=True,
        aliases="container top, top",
    )
}
