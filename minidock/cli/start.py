"""`minidock start`: start containers that exist, one of them attached if wanted."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, Query
from minidock.cli.create_flags import DETACH_KEYS
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options


def run(options: Options) -> int:
    """Start the containers."""
    client = Client(options.host)
    if options["attach"] or options["interactive"]:
        if len(options.arguments) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _start_attached(client, options, options.arguments[0])
    failed: list[str] = []
    for name in options.arguments:
        try:
            client.raw("POST", f"/containers/{name}/start", {"detachKeys": options["detach-keys"]})
            sys.stdout.write(f"{name}\n")
        except EngineError as error:
            sys.stderr.write(f"{error}\n")
            failed.append(name)
    if failed:
        raise Failure(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(client: Client, options: Options, name: str) -> int:
    from minidock.cli.run import status
    from minidock.cli.session import Session
    from minidock.cli.terminal import DEFAULT_DETACH_KEYS, key_sequence

    keys = key_sequence(options["detach-keys"] or DEFAULT_DETACH_KEYS)
    container = client.call("GET", f"/containers/{name}/json")
    config, path = container["Config"], f"/containers/{container['Id']}"
    stdin = options["interactive"] and config["OpenStdin"]
    session = Session(client, container["Id"], tty=config["Tty"], stdin=stdin, detach_keys=keys)
    query: Query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True}
    connection = client.hijack(f"{path}/attach", {**query, "detachKeys": options["detach-keys"]})
    removed = container["HostConfig"].get("AutoRemove")
    waiting = client.open("POST", f"{path}/wait", {"condition": "removed" if removed else "next-exit"})
    client.raw("POST", f"{path}/start")
    if config["Tty"]:
        session.resize()
    return status(waiting) if session.run(connection) else 0


COMMANDS = {
    "start": Command(
        "start",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        run,
        (
            Flag("attach", "a", "bool", "Attach STDOUT/STDERR and forward signals"),
            DETACH_KEYS,
            Flag("interactive", "i", "bool", "Attach container's STDIN"),
        ),
        (1, None),
        aliases="container start, start",
    )
}
