"""`minidock pull`: have the engine fetch an image."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.progress import show
from minidock.cli.tag import split_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

ANONYMOUS = {"X-Registry-Auth": "e30="}  # base64 of {}


def pull(
    client: Client, name: str, platform: str = "", out: TextIO | None = None, every_tag: bool = False
) -> None:
    """Pull image `name` and show the progress on `out` (None: silently)."""
    repository, tag = split_name(name)
    response = client.open(
        "POST",
        "/images/create",
        {"fromImage": repository, "tag": "" if every_tag else tag, "platform": platform},
        None,
        ANONYMOUS,
    )
    with open("/dev/null", "w") as nowhere:
        show(response.lines(), out or nowhere)
    response.connection.close()


def run(options: Options) -> int:
    """Pull one image and print its full name."""
    name = options.arguments[0]
    try:
        repository, tag = split_name(name)
    except ValueError as error:
        raise Failure(str(error)) from None
    quiet, every_tag = options["quiet"], options["all-tags"]
    if every_tag and ":" in name.rpartition("/")[2]:
        raise Failure("tag can't be used with --all-tags/-a")
    if tag == "latest" and ":" not in name.rpartition("/")[2] and not every_tag and not quiet:
        sys.stdout.write("Using default tag: latest\n")
    pull(Client(options.host), name, options["platform"], None if quiet else sys.stdout, every_tag)
    separator = "@" if ":" in tag else ":"
    sys.stdout.write(repository + ("" if every_tag else f"{separator}{tag}") + "\n")
    return 0


COMMANDS = {
    "pull": Command(
        "pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        run,
        (
            Flag("all-tags", "a", "bool", "Download all tagged images in the repository"),
            Flag("platform", "", "string", "Set platform if server is multi-platform capable"),
            Flag("quiet", "q", "bool", "Suppress verbose output"),
        ),
        (1, 1),
        aliases="image pull, pull",
    )
}
