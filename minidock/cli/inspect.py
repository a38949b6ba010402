"""`minidock inspect`: all that the engine knows about an object, or what a template picks from it."""

from __future__ import annotations

import sys

from minidock.cli import quickjson
from minidock.cli.client import Client, Query
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.jsontext import indent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.formats.gotemplate import Template

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
# of these minidock has none: asked by name, the engine says so itself
FOREIGN = {
    "config": "/configs/{}",
    "node": "/nodes/{}",
    "plugin": "/plugins/{}/json",
    "secret": "/secrets/{}",
    "service": "/services/{}",
    "task": "/tasks/{}",
}
ABSENT = (404, 501)  # an engine without volumes has no volume of that name
# fields that Docker's JSON leaves out when they are empty, which a template may still ask for
OPTIONAL = frozenset(
    {"Annotations", "ExposedPorts", "GraphDriver", "Health", "Healthcheck", "Init", "Labels", "MacAddress"}
    | {"MaskedPaths", "Mounts", "OnBuild", "ReadonlyPaths", "Runtime", "Shell", "SizeRootFs", "SizeRw"}
    | {"StopSignal", "StopTimeout", "StorageOpt", "Sysctls", "Tmpfs", "Variant"}
)
FORMAT = Flag("format", "f", "string", "INSPECT_FORMAT")
SIZE = Flag("size", "s", "bool", "Display total file sizes if the type is container")


def _inspect_any(options: Options) -> int:
    kind = options["type"]
    if "type" in options and kind not in (PATHS | FOREIGN):
        known = ", ".join(f'"{name}"' for name in sorted(PATHS | FOREIGN))
        what = f'unknown type: "{kind}"' if kind else "type is empty"
        raise Failure(f"{what}: must be one of {known}")
    return inspect(options, [kind] if kind else list(PATHS), bool(kind), options["size"])


def inspect(options: Options, kinds: list[str], typed: bool, with_size: bool = False) -> int:
    """Print every object found, then the error for the first that was not."""
    template = _template(options["format"])
    type_name = "volume.Volume" if kinds == ["volume"] else ""
    client = Client(options.host)
    found: list[str] = []
    problem: Failure | None = None
    for name in options.arguments:
        try:
            found.append(_find(client, name, kinds, typed, with_size))
        except Failure as error:
            problem = error
            break
    if options["format"] == "json":
        sys.stdout.write(f"[{','.join(text.strip() for text in found)}]\n")
    elif template is None:
        body = ",\n".join("    " + indent(text, prefix="    ") for text in found)
        sys.stdout.write(f"[\n{body}\n]\n" if found else "[]\n")
    else:
        for text in found:
            sys.stdout.write(_render(template, text, type_name) + "\n")
        if problem and not found:
            sys.stdout.write("\n")
    if problem:
        raise problem
    return 0


def _find(client: Client, name: str, kinds: list[str], typed: bool, with_size: bool) -> str:
    for kind in kinds:
        query: Query = {"size": with_size and kind == "container"}
        try:
            text = client.raw("GET", (PATHS | FOREIGN)[kind].format(name), query).decode()
        except EngineError as error:
            if error.status not in ABSENT or typed:
                raise
            continue
        if with_size and kind != "container":
            sys.stderr.write(f"WARNING: --size ignored for {kind}\n")
        return text
    raise Failure(f"Error: No such object: {name}")


def _template(text: str) -> Template | None:
    from minidock.errors import InvalidParameter

    if text in ("", "json"):
        return None
    from minidock.formats.gotemplate import Template

    try:
        return Template(text)
    except InvalidParameter as error:
        raise Failure(f"template parsing error: {error}", 64) from None


def _render(template: Template, text: str, type_name: str) -> str:
    from minidock.errors import InvalidParameter

    try:
        return template.execute(quickjson.decode(text), type_name, OPTIONAL)
    except InvalidParameter as error:
        sys.stdout.write("\n")
        raise Failure(f"template parsing error: {error}") from None


def _only(kind: str) -> Callable[[Options], int]:
    def run(options: Options) -> int:
        return inspect(options, [kind], True, kind == "container" and options["size"])

    return run


COMMANDS = {
    "inspect": Command(
        "inspect",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Return low-level information on Docker objects",
        _inspect_any,
        (FORMAT, SIZE, Flag("type", "", "string", "Only inspect objects of the given type")),
        (1, None),
    ),
    "container inspect": Command(
        "inspect",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Display detailed information on one or more containers",
        _only("container"),
        (FORMAT, Flag("size", "s", "bool", "Display total file sizes")),
        (1, None),
    ),
    "network inspect": Command(
        "inspect",
        "[OPTIONS] NETWORK [NETWORK...]",
        "Display detailed information on one or more networks",
        _only("network"),
        (FORMAT, Flag("verbose", "v", "bool", "Verbose output for diagnostics")),
        (1, None),
    ),
    "volume inspect": Command(
        "inspect",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Display detailed information on one or more volumes",
        _only("volume"),
        (FORMAT,),
        (1, None),
    ),
    "image inspect": Command(
        "inspect",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        _only("image"),
        (FORMAT,),
        (1, None),
    ),
}
