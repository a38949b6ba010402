"""`minidock explain`: draw a container that runs. The engine gives the names, the kernel all the rest."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.flags import Command, Options


def run(options: Options) -> int:
    """Print the picture of one container."""
    if sys.flags.no_site:
        import site

        site.main()  # the command line starts without site-packages, and the network's modules need them
    from minidock.explain import picture

    client = Client(options.host)
    container = client.call("GET", f"/containers/{options.arguments[0]}/json")
    sys.stdout.write(picture.draw(container, client.host))
    return 0


COMMANDS = {
    "explain": Command(
        "explain",
        "CONTAINER",
        "Draw a running container: processes, namespaces, cgroup, layers, the way of a packet",
        run,
        (),
        (1, 1),
    )
}
