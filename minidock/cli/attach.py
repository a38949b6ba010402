"""`minidock attach`: our terminal, or our pipes, on a container that is already running."""

from __future__ import annotations

import os

from minidock.cli.client import Client, Query
from minidock.cli.create_flags import DETACH_KEYS, SIG_PROXY_ALL
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options

REFUSALS = {
    "paused": "You cannot attach to a paused container, unpause it first",
    "restarting": "You cannot attach to a restarting container, wait until it is running",
}


def run(options: Options) -> int:
    """Attach and return the container's exit code."""
    from minidock.cli.run import status
    from minidock.cli.session import Session
    from minidock.cli.terminal import DEFAULT_DETACH_KEYS, key_sequence

    keys = key_sequence(options["detach-keys"] or DEFAULT_DETACH_KEYS)
    client = Client(options.host)
    container = client.call("GET", f"/containers/{options.arguments[0]}/json")
    state, config, path = container["State"], container["Config"], f"/containers/{container['Id']}"
    if not state["Running"]:
        raise Failure("You cannot attach to a stopped container, start it first")
    for condition, sentence in REFUSALS.items():
        if state.get(condition.title()):
            raise Failure(sentence)
    stdin = config["OpenStdin"] and not options["no-stdin"]
    if config["Tty"] and stdin and not os.isatty(0):
        raise Failure("the input device is not a TTY")
    forward = options["sig-proxy"] and not config["Tty"]
    waiting = client.open("POST", f"{path}/wait")
    session = Session(
        client, container["Id"], tty=config["Tty"], stdin=stdin, detach_keys=keys, forward=forward
    )
    query: Query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True}
    connection = client.hijack(f"{path}/attach", {**query, "detachKeys": options["detach-keys"]})
    if config["Tty"]:
        session.resize()
    if session.run(connection):
        return status(waiting)
    raise Failure("read escape sequence")


COMMANDS = {
    "attach": Command(
        "attach",
        "[OPTIONS] CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
        run,
        (DETACH_KEYS, Flag("no-stdin", "", "bool", "Do not attach STDIN"), SIG_PROXY_ALL),
        (1, 1),
        aliases="container attach, attach",
    )
}
