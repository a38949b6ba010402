"""The verbs that send one request per container: stop, kill, rm, restart, pause, unpause, rename, wait.

As docker does: the names that worked are printed, the errors come after them, and one error makes the exit
code 1.
"""

from __future__ import annotations

import sys

from minidock.cli.client import Client, Query
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGNAL = Flag("signal", "s", "string", "Signal to send to the container")
TIMEOUT = Flag("timeout", "t", "int", "Seconds to wait before killing the container", aliases=("time",))


def each(options: Options, act: Callable[[Client, str], str], tolerated: int = 0) -> int:
    """Run `act` for every argument, print what it returns, and report the failures at the end.

    An error of HTTP status `tolerated` is reported but is none: with `rm -f`, what is not there is as good as
    removed.
    """
    client = Client(options.host)
    errors: list[str] = []
    failed = False
    for name in options.arguments:
        try:
            sys.stdout.write(act(client, name) + "\n")
        except EngineError as error:
            failed = failed or error.status != tolerated
            errors.append(str(error))
    if failed:
        raise Failure("\n".join(errors))
    sys.stderr.writelines(f"{error}\n" for error in errors)
    return 0


def _post(action: str, query: Callable[[Options], Query]) -> Callable[[Options], int]:
    def run(options: Options) -> int:
        def act(client: Client, name: str) -> str:
            client.call("POST", f"/containers/{name}/{action}", query(options))
            return name

        return each(options, act)

    return run


def _timing(options: Options) -> Query:
    seconds = str(options["timeout"]) if "timeout" in options else None
    return {"signal": options["signal"], "t": seconds}


def remove(options: Options) -> int:
    """Remove containers."""

    def act(client: Client, name: str) -> str:
        path = name.strip("/")
        if not path:
            raise Failure("Container name cannot be empty")
        query: Query = {"force": options["force"], "link": options["link"], "v": options["volumes"]}
        client.call("DELETE", f"/containers/{path}", query)
        return name

    return each(options, act, tolerated=404 if options["force"] else 0)


def wait(options: Options) -> int:
    """Print the exit code of each container when it has one."""

    def act(client: Client, name: str) -> str:
        answer = client.call("POST", f"/containers/{name}/wait")
        problem = (answer.get("Error") or {}).get("Message")
        if problem:
            raise EngineError(500, problem)
        return str(answer["StatusCode"])

    return each(options, act)


def rename(options: Options) -> int:
    """Give a container another name."""
    old, new = (name.strip() for name in options.arguments)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    try:
        Client(options.host).call("POST", f"/containers/{old}/rename", {"name": new})
    except EngineError as error:
        raise Failure(f"{error}\nError: failed to rename container named {old}") from None
    return 0


def _command(
    name: str, about: str, run: Callable[[Options], int], flags: tuple[Flag, ...] = (), more: str = ""
) -> Command:
    synopsis = ("[OPTIONS] " if flags else "") + "CONTAINER [CONTAINER...]"
    aliases = f"container {name}, {more}{name}"
    return Command(name, synopsis, about, run, flags, (1, None), aliases=aliases)


COMMANDS = {
    "kill": _command(
        "kill",
        "Kill one or more running containers",
        _post("kill", lambda options: {"signal": options["signal"]}),
        (SIGNAL,),
    ),
    "pause": _command(
        "pause", "Pause all processes within one or more containers", _post("pause", lambda _: {})
    ),
    "rename": Command(
        "rename",
        "CONTAINER NEW_NAME",
        "Rename a container",
        rename,
        (),
        (2, 2),
        aliases="container rename, rename",
    ),
    "restart": _command(
        "restart", "Restart one or more containers", _post("restart", _timing), (SIGNAL, TIMEOUT)
    ),
    "rm": _command(
        "rm",
        "Remove one or more containers",
        remove,
        (
            Flag("force", "f", "bool", "Force the removal of a running container (uses SIGKILL)"),
            Flag("link", "l", "bool", "Remove the specified link"),
            Flag("volumes", "v", "bool", "Remove anonymous volumes associated with the container"),
        ),
        "container remove, ",
    ),
    "stop": _command(
        "stop", "Stop one or more running containers", _post("stop", _timing), (SIGNAL, TIMEOUT)
    ),
    "unpause": _command(
        "unpause", "Unpause all processes within one or more containers", _post("unpause", lambda _: {})
    ),
    "wait": _command("wait", "Block until one or more containers stop, then print their exit codes", wait),
}
