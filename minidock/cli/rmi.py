"""`minidock rmi`: take a name from an image, and the image itself when that was its last."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, Query
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options


def run(options: Options) -> int:
    """Remove each image, print what went, and report the failures at the end."""
    client = Client(options.host)
    query: Query = {"force": options["force"], "noprune": options["no-prune"]}
    errors: list[str] = []
    fatal = False
    for name in options.arguments:
        try:
            answer = client.call("DELETE", f"/images/{name}", query)
        except EngineError as error:
            fatal = fatal or error.status != 404
            errors.append(str(error))
            continue
        for item in answer or ():
            for verb in ("Deleted", "Untagged"):
                if item.get(verb):
                    sys.stdout.write(f"{verb}: {item[verb]}\n")
    if errors and (fatal or not options["force"]):
        raise Failure("\n".join(errors))
    sys.stderr.writelines(f"{error}\n" for error in errors)
    return 0


COMMANDS = {
    "rmi": Command(
        "rmi",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove one or more images",
        run,
        (
            Flag("force", "f", "bool", "Force removal of the image"),
            Flag("no-prune", "", "bool", "Do not delete untagged parents"),
        ),
        (1, None),
        aliases="image rm, image remove, rmi",
    )
}
