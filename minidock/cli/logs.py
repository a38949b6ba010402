"""`minidock logs`: what a container has written, and, with -f, goes on writing."""

from __future__ import annotations

import os

from minidock.cli.client import Client
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.since import moment
from minidock.cli.streams import Demultiplexer, write_all

TIMES = ' timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'


def run(options: Options) -> int:
    """Copy the log to stdout and stderr."""
    client = Client(options.host)
    name = options.arguments[0]
    container = client.call("GET", f"/containers/{name}/json")
    response = client.open(
        "GET",
        f"/containers/{container['Id']}/logs",
        {
            "stdout": True,
            "stderr": True,
            "details": options["details"],
            "follow": options["follow"],
            "since": moment(options["since"], "since"),
            "tail": options["tail"],
            "timestamps": options["timestamps"],
            "until": moment(options["until"], "until"),
        },
    )
    if container["Config"]["Tty"]:
        for block in response.blocks():
            write_all(1, block)
        return 0
    demultiplexer = Demultiplexer()
    for block in response.blocks():
        for stream, data in demultiplexer.feed(block):
            write_all(2 if stream == 2 else 1, data)
    os.close(response.connection.socket.detach())
    return 0


COMMANDS = {
    "logs": Command(
        "logs",
        "[OPTIONS] CONTAINER",
        "Fetch the logs of a container",
        run,
        (
            Flag("details", "", "bool", "Show extra details provided to logs"),
            Flag("follow", "f", "bool", "Follow log output"),
            Flag(
                "since",
                "",
                "string",
                "Show logs since" + TIMES,
            ),
            Flag(
                "tail",
                "n",
                "string",
                "Number of lines to show from the end of the logs",
                None,
                "all",
                '"all"',
            ),
            Flag("timestamps", "t", "bool", "Show timestamps"),
            Flag(
                "until",
                "",
                "string",
                "Show logs before a" + TIMES,
            ),
        ),
        (1, 1),
        aliases="container logs, logs",
    )
}
