"""`minidock run`: create, attach, wait, start: in this order no byte and no exit code is lost.

The order is docker's: whoever attaches after the start misses what a short program wrote, and whoever waits
after it may find a `--rm` container gone.
"""

from __future__ import annotations

import os
import sys

from minidock.cli import quickjson
from minidock.cli.client import Client, Query
from minidock.cli.create import attached, create, refused, request
from minidock.cli.create_flags import RUN_FLAGS
from minidock.cli.failure import CannotConnect, EngineError, Failure
from minidock.cli.flags import Command, Options
from minidock.cli.terminal import DEFAULT_DETACH_KEYS, key_sequence, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.connection import Response

NOT_FOUND = (
    "executable file not found",
    "no such file or directory",
    "system cannot find the file specified",
)
NOT_EXECUTABLE = ("permission denied", "is a directory")


def run(options: Options) -> int:
    """Run a command in a new container; return its exit code."""
    detached: bool = options["detach"]
    if detached and options["attach"]:
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    keys = key_sequence(options["detach-keys"] or DEFAULT_DETACH_KEYS)
    attach = attached(options, detached)
    if options["tty"] and attach[0] and not os.isatty(0):
        raise Failure("the input device is not a TTY")
    configuration = request(options, attach, "run")
    if options["tty"] and not detached:
        configuration["HostConfig"]["ConsoleSize"] = list(window_size(1))
    client = Client(options.host)
    try:
        identifier = create(client, options, configuration)
        if detached:
            return _run_detached(client, options, identifier)
        return _run_attached(client, options, identifier, attach, keys)
    except (EngineError, CannotConnect) as error:
        text = error.text if isinstance(error, EngineError) else str(error)
        raise refused(error, "run", exit_code(text)) from None
    except Failure as error:
        if error.exit_code == 1 and "container ID file found" in str(error):
            raise refused(error, "run") from None
        raise


def exit_code(problem: str) -> int:
    """Return docker's exit code for a start that failed with this message."""
    if any(words in problem for words in NOT_FOUND):
        return 127
    return 126 if any(words in problem for words in NOT_EXECUTABLE) else 125


def start(client: Client, identifier: str, query: Query, explain: bool = False) -> None:
    """Start the container; with `explain`, print the engine's trace as a narration on stderr first."""
    path = f"/containers/{identifier}/start"
    if not explain:
        client.raw("POST", path, query)
        return
    from minidock.explain.narrate import narrate

    try:
        records = client.raw("POST", path, {**query, "explain": True})
    except EngineError as error:
        *lines, last = error.text.splitlines() or [""]
        narrate(lines, sys.stderr)
        raise EngineError(error.status, _message(last)) from None
    if not records:
        sys.stderr.write("This engine does not explain what it does.\n")
    narrate(records.decode().splitlines(), sys.stderr)
    sys.stderr.flush()


def status(waiting: Response) -> int:
    """Return the exit code that a wait request was promised."""
    answer = quickjson.decode(waiting.read())
    problem = (answer.get("Error") or {}).get("Message")
    if problem:
        raise Failure(problem, 125)
    return int(answer["StatusCode"])


def _run_detached(client: Client, options: Options, identifier: str) -> int:
    sys.stdout.write(f"{identifier}\n")
    sys.stdout.flush()
    start(client, identifier, {}, options["explain"])
    return 0


def _run_attached(
    client: Client, options: Options, identifier: str, attach: tuple[bool, bool, bool], keys: bytes
) -> int:
    from minidock.cli.session import Session

    stdin, stdout, stderr = attach
    tty: bool = options["tty"]
    session = Session(
        client, identifier, tty=tty, stdin=stdin, detach_keys=keys, forward=options["sig-proxy"]
    )
    query: Query = {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr}
    path = f"/containers/{identifier}"
    connection = client.hijack(f"{path}/attach", {**query, "detachKeys": options["detach-keys"]})
    if not stdout and not stderr:
        sys.stdout.write(f"{identifier}\n")
        sys.stdout.flush()
    waiting = client.open("POST", f"{path}/wait", {"condition": "removed" if options["rm"] else "next-exit"})
    try:
        start(client, identifier, {}, options["explain"])
    except EngineError:
        if options["rm"]:
            connection.close()
            waiting.read()  # until it is gone, so that its name is free when we return
        raise
    if tty:
        session.resize()
    return status(waiting) if session.run(connection) else 0


def _message(line: str) -> str:
    try:
        return str(quickjson.decode(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


COMMANDS = {
    "run": Command(
        "run",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create and run a new container from an image",
        run,
        RUN_FLAGS,
        (1, None),
        stops=True,
        aliases="container run, run",
    )
}
