"""`minidock create`, and the first half of `run`: a container from an image, pulled when it is not there."""

from __future__ import annotations

import os
import sys

from minidock.cli.client import Client
from minidock.cli.create_body import body
from minidock.cli.create_flags import CREATE_FLAGS
from minidock.cli.failure import PROGRAM, EngineError, Failure
from minidock.cli.flags import Command, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

SYSTEMS = frozenset(
    {"android", "darwin", "freebsd", "illumos", "linux", "netbsd", "openbsd", "plan9", "solaris", "windows"}
)
ARCHITECTURES = frozenset(
    {"386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "loong64", "mips", "mips64"}
    | {"mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm", "x86-64", "x86_64"}
)


def refused(problem: object, verb: str, code: int = 125) -> Failure:
    """Return the failure of `run` and `create` for a request that makes no sense."""
    return Failure(f"{PROGRAM}: {problem}\n\nRun '{PROGRAM} {verb} --help' for more information", code)


def attached(options: Options, detached: bool = False) -> tuple[bool, bool, bool]:
    """Return which of stdin, stdout, stderr the flags attach."""
    chosen = options["attach"]
    stdin = not detached and (options["interactive"] or "stdin" in chosen)
    if detached or chosen:
        return stdin, "stdout" in chosen, "stderr" in chosen
    return stdin, True, True


def request(options: Options, attach: tuple[bool, bool, bool], verb: str) -> dict[str, Any]:
    """Return the body of the create request; raise Failure (125) for flags that contradict each other."""
    try:
        result = body(options, attach)
    except ValueError as error:
        raise refused(error, verb) from None
    try:
        _check_reference(options.arguments[0])
    except ValueError as error:
        raise (refused(error, verb) if verb == "run" else Failure(str(error))) from None
    if options["platform"]:
        _check_platform(options["platform"])
    return result


def create(client: Client, options: Options, configuration: dict[str, Any]) -> str:
    """Create the container, pulling its image if need be and if it may; return its id."""
    path = options["cidfile"]
    if path and os.path.exists(path):
        raise Failure(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        )
    try:
        id_file = open(path, "x") if path else None  # noqa: SIM115
    except OSError as error:
        problem = f"open {path}: {(error.strerror or '').lower()}"
        raise Failure(f"failed to create the container ID file: {problem}") from None
    try:
        return _create(client, options, configuration, id_file)
    except BaseException:
        if id_file:
            id_file.close()
            os.unlink(path)
        raise


def _create(client: Client, options: Options, configuration: dict[str, Any], id_file: TextIO | None) -> str:
    if options["pull"] == "always":
        _pull(client, options)
    query = {"name": options["name"], "platform": options["platform"]}
    try:
        answer = client.call("POST", "/containers/create", query, configuration)
    except EngineError as error:
        if error.status != 404 or options["pull"] != "missing":
            raise
        from minidock.formats.reference import parse_reference

        familiar = parse_reference(options.arguments[0]).with_default_tag().familiar
        if not options["quiet"]:
            sys.stderr.write(f"Unable to find image '{familiar}' locally\n")
        _pull(client, options)
        answer = client.call("POST", "/containers/create", query, configuration)
    for warning in answer.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    if id_file:
        with id_file:
            id_file.write(answer["Id"])
    return str(answer["Id"])


def run(options: Options) -> int:
    """Create a container and print its id."""
    configuration = request(options, attached(options), "create")
    sys.stdout.write(create(Client(options.host), options, configuration) + "\n")
    return 0


def _pull(client: Client, options: Options) -> None:
    from minidock.cli.pull import pull

    pull(client, options.arguments[0], options["platform"], None if options["quiet"] else sys.stderr)


def _check_platform(text: str) -> None:
    """Refuse one word that is neither an operating system nor an architecture."""
    if "/" not in text and text.lower() not in SYSTEMS | ARCHITECTURES:
        problem = f'"{text}": unknown operating system or architecture: invalid argument'
        raise Failure(f"error parsing specified platform: {problem}")


def _check_reference(name: str) -> None:
    """Refuse what can be no reference; the grammar is imported (5 ms) only for names that look unusual."""
    if not name or name.partition("@")[0].rpartition("/")[2].count(":") > 1:
        raise ValueError("invalid reference format")
    if all(
        character.isascii() and (character.islower() or character.isdigit() or character in "._-/:@")
        for character in name
    ):
        return
    from minidock.cli.tag import split_name

    split_name(name)


COMMANDS = {
    "create": Command(
        "create",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a new container",
        run,
        CREATE_FLAGS,
        (1, None),
        stops=True,
        aliases="container create, create",
    )
}
