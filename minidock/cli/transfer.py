"""Images as files: load, save, import."""

from __future__ import annotations

import sys

from minidock.cli import output
from minidock.cli.client import Client, Query
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or '').lower()}") from None


def load(options: Options) -> int:
    """Load the images of an archive."""
    path = options["input"]
    if not path and sys.stdin.isatty():
        raise Failure("requested load from stdin, but stdin is empty")
    source = _open(path) if path else sys.stdin.buffer
    quiet = options["quiet"] or not sys.stdout.isatty()
    with source:
        response = Client(options.host).open(
            "POST", "/images/load", {"quiet": quiet}, source, {"Content-Type": "application/x-tar"}
        )
        if response.headers.get("content-type", "").startswith("application/json"):
            show(response.lines())
        else:
            sys.stdout.buffer.writelines(response.blocks())
    return 0


def save(options: Options) -> int:
    """Write images to an archive, a file or the output."""
    query: Query = {"names": options.arguments}
    output.write(
        options["output"], lambda: Client(options.host).open("GET", "/images/get", query), "save image"
    )
    return 0


def import_root(options: Options) -> int:
    """Make an image of a root file system in a tar file."""
    if len(options.arguments) > 2:
        raise Failure(f"import takes a file and a name, and nothing after: {options.arguments[2]}")
    source, reference = options.arguments[0], (*options.arguments, "")[1]
    if reference:
        from minidock.cli.tag import split_name

        try:
            split_name(reference)
        except ValueError as error:
            raise Failure(str(error)) from None
    remote = source.startswith(("http://", "https://"))
    body = None if remote else sys.stdin.buffer if source == "-" else _open(source)
    response = Client(options.host).open(
        "POST",
        "/images/create",
        {
            "fromSrc": source if remote else "-",
            "repo": reference,
            "message": options["message"],
            "changes": options["change"],
            "platform": options["platform"],
        },
        body,
        {"Content-Type": "text/plain"},
    )
    show(response.lines())
    return 0


COMMANDS = {
    "import": Command(
        "import",
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        import_root,
        (
            Flag("change", "c", "list", "Apply Dockerfile instruction to the created image"),
            Flag("message", "m", "string", "Set commit message for imported image"),
            Flag("platform", "", "string", "Set platform if server is multi-platform capable"),
        ),
        (1, None),
        aliases="image import, import",
    ),
    "load": Command(
        "load",
        "[OPTIONS]",
        "Load an image from a tar archive or STDIN",
        load,
        (
            Flag("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            Flag("quiet", "q", "bool", "Suppress the load output"),
        ),
        aliases="image load, load",
    ),
    "save": Command(
        "save",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        save,
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),),
        (1, None),
        aliases="image save, save",
    ),
}
