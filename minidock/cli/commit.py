"""`minidock commit`: a container's changes as a new image."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, Query
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options


def run(options: Options) -> int:
    """Make the image and print its id."""
    from minidock.cli.tag import split_name

    container, name = (*options.arguments, "")[:2]
    repository = tag = ""
    if name:
        try:
            repository, tag = split_name(name)
        except ValueError as error:
            raise Failure(str(error)) from None
    query: Query = {
        "author": options["author"],
        "changes": options["change"],
        "comment": options["message"],
        "container": container,
        "pause": options["pause"],
        "repo": repository,
        "tag": tag,
    }
    if not options["pause"]:
        query["pause"] = "0"
    sys.stdout.write(f"{Client(options.host).call('POST', '/commit', query, {})['Id']}\n")
    return 0


COMMANDS = {
    "commit": Command(
        "commit",
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        run,
        (
            Flag("author", "a", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
            Flag("change", "c", "list", "Apply Dockerfile instruction to the created image"),
            Flag("message", "m", "string", "Commit message"),
            Flag("pause", "p", "bool", "Pause container during commit", default=True, shown="true"),
        ),
        (1, 2),
        aliases="container commit, commit",
    )
}
