"""`minidock exec`: one more program in a running container, with our streams as its own."""

from __future__ import annotations

import os

from minidock.cli import quickjson
from minidock.cli.client import Client
from minidock.cli.create_flags import DETACH_KEYS
from minidock.cli.create_values import variable
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(options: Options) -> int:
    """Run the command and return its exit code."""
    detached: bool = options["detach"]
    configuration = _configuration(options, detached)
    if options["tty"] and not detached and options["interactive"] and not os.isatty(0):
        raise Failure("the input device is not a TTY")
    client = Client(options.host)
    name = options.arguments[0]
    client.call("GET", f"/containers/{name}/json")  # its words for a container that is not there
    identifier = client.call("POST", f"/containers/{name}/exec", None, configuration)["Id"]
    start: dict[str, Any] = {"Detach": detached, "Tty": options["tty"]}
    if detached:
        client.call("POST", f"/exec/{identifier}/start", None, start)
        return 0
    return _attached(client, options, identifier, start)


def _configuration(options: Options, detached: bool) -> dict[str, Any]:
    from minidock.cli.create_body import lines_of

    try:
        from_files = lines_of(options["env-file"], from_environment=True)
    except ValueError as error:
        raise Failure(str(error)) from None
    return {
        "User": options["user"],
        "Privileged": options["privileged"],
        "Tty": options["tty"],
        "AttachStdin": options["interactive"] and not detached,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Detach": detached,
        "DetachKeys": options["detach-keys"] or "",
        "Env": [*from_files, *options["env"]],
        "WorkingDir": options["workdir"],
        "Cmd": options.arguments[1:],
    }


def _attached(client: Client, options: Options, identifier: str, start: dict[str, Any]) -> int:
    from minidock.cli.session import Session
    from minidock.cli.terminal import DEFAULT_DETACH_KEYS, key_sequence, window_size

    tty: bool = options["tty"]
    keys = key_sequence(options["detach-keys"] or DEFAULT_DETACH_KEYS)
    if tty:
        rows, columns = window_size(1)
        if rows and columns:
            start["ConsoleSize"] = [rows, columns]
    session = Session(
        client,
        identifier,
        tty=tty,
        stdin=options["interactive"],
        detach_keys=keys,
        forward=False,
        place="exec",
    )
    body = quickjson.encode(start).encode()
    connection = client.hijack(f"/exec/{identifier}/start", {}, body)
    if not session.run(connection):
        raise Failure("read escape sequence")
    state = client.call("GET", f"/exec/{identifier}/json")
    return int(state["ExitCode"] or 0)


COMMANDS = {
    "exec": Command(
        "exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Execute a command in a running container",
        run,
        (
            Flag("detach", "d", "bool", "Detached mode: run command in the background"),
            DETACH_KEYS,
            Flag("env", "e", "list", "Set environment variables", variable),
            Flag("env-file", "", "list", "Read in a file of environment variables"),
            Flag("interactive", "i", "bool", "Keep STDIN open even if not attached"),
            Flag("privileged", "", "bool", "Give extended privileges to the command"),
            Flag("tty", "t", "bool", "Allocate a pseudo-TTY"),
            Flag("user", "u", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")'),
            Flag("workdir", "w", "string", "Working directory inside the container"),
        ),
        (2, None),
        stops=True,
        aliases="container exec, exec",
    )
}
