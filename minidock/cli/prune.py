"""`minidock image prune`, `container prune` and `system prune`: remove what nobody uses, after asking."""

from __future__ import annotations

import sys

from minidock.cli.client import Client, filters
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

DANGLING = "all dangling images"
UNUSED = "all images without at least one container associated to them"
QUESTION = "Are you sure you want to continue? [y/N] "
# kind: (path, title of what went, member of the answer)
KINDS = {
    "container": ("/containers/prune", "Deleted Containers:", "ContainersDeleted"),
    "network": ("/networks/prune", "Deleted Networks:", "NetworksDeleted"),
    "volume": ("/volumes/prune", "Deleted Volumes:", "VolumesDeleted"),
    "image": ("/images/prune", "Deleted Images:", "ImagesDeleted"),
    "build": ("/build/prune", "Deleted build cache objects:", "CachesDeleted"),
}


def containers(options: Options) -> int:
    """Remove all containers that do not run."""
    warning = "WARNING! This will remove all stopped containers.\n"
    return _prune(options, warning, [("container", options["filter"])])


def images(options: Options) -> int:
    """Remove the images that no container uses: those without a name, or all."""
    warning = f"WARNING! This will remove {UNUSED if options['all'] else DANGLING}.\n"
    return _prune(options, warning, [("image", [*options["filter"], _dangling(options)])])


def system(options: Options) -> int:
    """Remove all kinds of unused things; volumes only when asked for."""
    everything, chosen = options["all"], options["filter"]
    if options["volumes"] and any(name == "until" for name, _ in chosen):
        raise Failure('ERROR: The "until" filter is not supported with "--volumes"')
    things = ["all stopped containers", "all networks not used by at least one container"]
    kinds: list[tuple[str, list[tuple[str, str]]]] = [("container", chosen), ("network", chosen)]
    if options["volumes"]:
        things.append("all anonymous volumes not used by at least one container")
        kinds.append(("volume", chosen))
    things += [UNUSED, "all build cache"] if everything else [DANGLING, "unused build cache"]
    kinds += [("image", [*chosen, _dangling(options)]), ("build", chosen)]
    warning = "WARNING! This will remove:\n" + "".join(f"  - {thing}\n" for thing in things)
    if chosen:
        warning += "\n  Items to be pruned will be filtered with:\n"
        warning += "".join(f"  - {name}={value}\n" for name, value in chosen)
    return _prune(options, warning + "\n", kinds)


def _prune(options: Options, warning: str, kinds: Iterable[tuple[str, list[tuple[str, str]]]]) -> int:
    if not options["force"]:
        sys.stdout.write(warning + QUESTION)
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 0
    client = Client(options.host)
    freed = 0
    for kind, chosen in kinds:
        path, title, member = KINDS[kind]
        answer: dict[str, Any] = client.call("POST", path, {"filters": filters(chosen)}) or {}
        freed += answer.get("SpaceReclaimed") or 0
        gone = answer.get(member) or []
        if gone:
            sys.stdout.write(f"{title}\n" + "".join(f"{_line(item)}\n" for item in gone) + "\n")
    sys.stdout.write(f"Total reclaimed space: {size(freed)}\n")
    return 0


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}"


def _dangling(options: Options) -> tuple[str, str]:
    return "dangling", "false" if options["all"] else "true"


def _flags(about_all: str, example: str) -> tuple[Flag, ...]:
    every = (Flag("all", "a", "bool", about_all),) if about_all else ()
    return (
        *every,
        Flag("filter", "", "filter", f'Provide filter values (e.g. "{example}")'),
        Flag("force", "f", "bool", "Do not prompt for confirmation"),
    )


COMMANDS = {
    "container prune": Command(
        "container prune",
        "[OPTIONS]",
        "Remove all stopped containers",
        containers,
        _flags("", "until=<timestamp>"),
    ),
    "image prune": Command(
        "image prune",
        "[OPTIONS]",
        "Remove unused images",
        images,
        _flags("Remove all unused images, not just dangling ones", "until=<timestamp>"),
    ),
    "system prune": Command(
        "system prune",
        "[OPTIONS]",
        "Remove unused data",
        system,
        (
            *_flags("Remove all unused images not just dangling ones", "label=<key>=<value>"),
            Flag("volumes", "", "bool", "Prune anonymous volumes"),
        ),
    ),
}
