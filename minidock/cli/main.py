"""`minidock`: find the verb, import its module, run it, turn its failure into a message and an exit code.

Only what this file imports is paid for by every command, so it imports little and each verb brings its own.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.commands import GROUPS, VERBS
from minidock.cli.failure import PROGRAM, Failure
from minidock.cli.flags import Command, Flag, HelpWanted, parse, usage_error
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

GLOBAL_FLAGS = (
    Flag("host", "H", "list", "Daemon socket to connect to"),
    Flag("config", "", "string", "Location of client config files", shown='"~/.docker"'),
    Flag("context", "c", "string", "Name of the context to use to connect to the daemon"),
    Flag("tls", "", "bool", "Use TLS; implied by --tlsverify"),
    Flag("tlscacert", "", "string", "Trust certs signed only by this CA", shown='"~/.docker/ca.pem"'),
    Flag("tlscert", "", "string", "Path to TLS certificate file", shown='"~/.docker/cert.pem"'),
    Flag("tlskey", "", "string", "Path to TLS key file", shown='"~/.docker/key.pem"'),
    Flag("tlsverify", "", "bool", "Use TLS and verify the remote"),
    Flag("version", "v", "bool", "Print version information and quit"),
)
# what makes an engine more than its address; most command lines have none of it
BY_MORE_THAN_ADDRESS = ("context", "tls", "tlsverify")
VARIABLES = ("DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except MinidockError as error:
        _flush()
        if str(error):
            sys.stderr.write(f"{error}\n")
        return error.exit_code if isinstance(error, Failure) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1


def run_and_exit() -> None:
    """Run `main` as a whole process, without the interpreter's farewell: 2 ms that only free memory."""
    code = main()
    _flush()
    os._exit(code)


def _run(words: list[str]) -> int:
    top = Command("", "[OPTIONS] COMMAND [ARG...]", "", _no_command, GLOBAL_FLAGS, (0, None), stops=True)
    try:
        options = parse(top, words, "")
    except HelpWanted:
        return _help([])
    except Failure as failure:
        raise Failure(str(failure).replace(f"{PROGRAM}  ", f"{PROGRAM} "), failure.exit_code) from None
    if options["version"]:
        from minidock import __version__

        sys.stdout.write(f"Minidock version {__version__}\n")
        return 0
    hosts = options["host"]
    if len(hosts) > 1:
        raise Failure("specify only one -H")
    rest = options.arguments
    if not rest:
        return _help([], sys.stderr)
    if rest[0] == "help":
        return _help(rest[1:])
    alone = len(rest) == 1
    name, module, rest = _find(rest)
    if not module:
        return _help([name], sys.stderr if alone else sys.stdout)
    command = load(module, name)
    try:
        chosen = parse(command, rest, name, hosts[0] if hosts else None)
    except HelpWanted:
        return _help(name.split())
    if not command.raw and (
        any(name in options for name in BY_MORE_THAN_ADDRESS) or any(map(os.environ.get, VARIABLES))
    ):
        from minidock.cli.endpoint import choose

        chosen.host = choose(options)
    return command.run(chosen)


def _find(words: list[str]) -> tuple[str, str, list[str]]:
    """Return the verb's full name, its module ("" for a group alone), and what follows it."""
    first = words[0]
    if first in GROUPS:
        if len(words) == 1 or words[1] in ("--help", "-h", "help"):
            return first, "", []
        if words[1] not in GROUPS[first]:
            synopsis = f"{first} COMMAND" if first == "volume" else first  # as docker has them
            raise Failure(
                f"{PROGRAM}: unknown command: {PROGRAM} {first} {words[1]}\n\n"
                f"Usage:  {PROGRAM} {synopsis}\n\n"
                f"Run '{PROGRAM} {first} --help' for more information"
            )
        return f"{first} {words[1]}", GROUPS[first][words[1]][0], words[2:]
    if first not in VERBS:
        raise Failure(
            f"{PROGRAM}: unknown command: {PROGRAM} {first}\n\nRun '{PROGRAM} --help' for more information"
        )
    return first, VERBS[first][0], words[1:]


def load(module: str, name: str) -> Command:
    """Import a verb's module and return its table; `name` may be `ps` or `container ls`."""
    imported = __import__(f"minidock.cli.{module}", fromlist=["COMMANDS"])
    commands: dict[str, Command] = imported.COMMANDS
    return commands[name] if name in commands else commands[_plain(name)]


def _plain(name: str) -> str:
    """Return the verb that a management form stands for: `container ls` is `ps`."""
    group, _, verb = name.partition(" ")
    return GROUPS[group][verb][1]


def _help(words: list[str], out: TextIO = sys.stdout) -> int:
    from minidock.cli.usage import command_help
    from minidock.cli.usage_overview import group_help, overview

    if not words:
        out.write(overview(GLOBAL_FLAGS))
    elif len(words) == 1 and words[0] in GROUPS:
        out.write(group_help(words[0]))
    else:
        try:
            name, module, _ = _find(words)
        except Failure:
            raise Failure(f"unknown help topic: {' '.join(words)}") from None
        out.write(command_help(load(module, name), name))
    return 0


def _no_command(options: object) -> int:
    raise usage_error("no command", "", Command("", "COMMAND", "", _no_command))


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    run_and_exit()
