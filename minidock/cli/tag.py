"""`minidock tag`: a second name for an image."""

from __future__ import annotations

from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Options


def split_name(name: str) -> tuple[str, str]:
    """Return (full repository, tag) of a familiar name; ValueError with Docker's words when it is none."""
    from minidock.errors import InvalidParameter
    from minidock.formats.reference import parse_reference

    try:
        reference = parse_reference(name).with_default_tag()
    except InvalidParameter as error:
        raise ValueError(str(error)) from None
    return reference.name, str(reference.digest or reference.tag)


def run(options: Options) -> int:
    """Tag an image."""
    source, target = options.arguments
    try:
        repository, tag = split_name(target)
    except ValueError as error:
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {error}') from None
    Client(options.host).call("POST", f"/images/{source}/tag", {"repo": repository, "tag": tag})
    return 0


COMMANDS = {
    "tag": Command(
        "tag",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        run,
        (),
        (2, 2),
        aliases="image tag, tag",
    )
}
