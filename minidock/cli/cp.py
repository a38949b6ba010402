"""`minidock cp`: files between a container and here, by the rules of `cp -a`.

What the engine gives and takes is a tar of one file or directory; what it shall be called, and in which
directory it belongs, is decided here from both sides. Source: docs.docker.com, `docker cp`; moby
pkg/archive/copy.go, by behaviour.
"""

from __future__ import annotations

import base64
import os
import posixpath
import sys
from dataclasses import dataclass

from minidock.cli import quickjson
from minidock.cli.client import Client, Query
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.connection import Response

STAT_HEADER = "x-docker-container-path-stat"
GO_DIRECTORY, GO_LINK = 1 << 31, 1 << 27
GO_IRREGULAR = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 19
LINKS_MAX = 255


@dataclass
class End:
    """One side of a copy: `renamed` is the name that the archive's top entry shall have, "" for its own."""

    path: str
    exists: bool = True
    is_directory: bool = False
    renamed: str = ""


def run(options: Options) -> int:
    """Copy in the direction that the arguments say."""
    for word, which in zip(options.arguments, ("source", "destination"), strict=True):
        if not word:
            raise Failure(f"{which} can not be empty")
    (source, source_path), (target, target_path) = map(split_argument, options.arguments)
    if source and target:
        raise Failure("copying between containers is not supported")
    client = Client(options.host)
    if source:
        copied = from_container(client, source, source_path, target_path, options["follow-link"])
        shown = target_path
    elif target:
        copied = to_container(
            client, target, source_path, target_path, options["follow-link"], options["archive"]
        )
        shown = f"{target}:{target_path}"
    else:
        raise Failure("must specify at least one container source")
    if target_path != "-" and not options["quiet"] and sys.stderr.isatty():
        sys.stderr.write(f"Successfully copied {size(copied)} to {shown}\n")
    return 0


def split_argument(text: str) -> tuple[str, str]:
    """Return (container, path); the container is "" for a path of ours."""
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def from_container(client: Client, container: str, source: str, target: str, follow: bool) -> int:
    """Copy out; return the number of bytes that came."""
    if target != "-":
        target = keep_ending(os.path.abspath(target), target)
        _check_output(target)
    renamed = ""
    if follow:
        try:
            found = stat(client, container, source)
        except EngineError:
            found = {"mode": 0}
        if found["mode"] & GO_LINK:
            source, renamed = rename_link(source, _joined(source, found["linkTarget"]))
    response = client.open("GET", f"/containers/{container}/archive", {"path": source})
    if target == "-":
        return sum(sys.stdout.buffer.write(block) for block in response.blocks())
    is_directory = bool(_stat_of(response)["mode"] & GO_DIRECTORY)
    end = End(source, True, is_directory, renamed)
    directory, name = destination(end, _local_target(target))
    from minidock.cli.cp_archive import Blocks, unpack

    blocks = Blocks(response.blocks())
    unpack(blocks, directory, split_path(source)[1], name or renamed)
    return blocks.size


def to_container(
    client: Client, container: str, source: str, target: str, follow: bool, give_to_user: bool
) -> int:
    """Copy in; return the number of bytes that went."""
    end = _container_target(client, container, target)
    query: Query = {"noOverwriteDirNonDir": "true", "copyUIDGID": "true" if give_to_user else ""}
    route = f"/containers/{container}/archive"
    if source == "-":
        if not end.is_directory:
            raise Failure(f'destination "{container}:{target}" must be a directory')
        client.open("PUT", route, {**query, "path": end.path}, sys.stdin.buffer).read()
        return 0
    here = _local_source(keep_ending(os.path.abspath(source), source), follow)
    directory, name = destination(here, end)
    from minidock.cli.cp_archive import packed

    with packed(here.path, name or here.renamed or split_path(here.path)[1]) as body:
        client.open("PUT", route, {**query, "path": directory}, body).read()
        return int(body.size)


def stat(client: Client, container: str, path: str) -> dict[str, Any]:
    """Return what the engine says of a path."""
    response = client.open("HEAD", f"/containers/{container}/archive", {"path": path})
    response.connection.close()
    return _stat_of(response)


def destination(source: End, target: End) -> tuple[str, str]:
    """Return the directory to extract into, and the name that the top entry gets there ("" for its own)."""
    directory, base = split_path(target.path)
    if target.exists and target.is_directory:
        return target.path, ""
    if target.exists and source.is_directory:
        raise Failure("cannot copy directory")
    asks_for_directory = target.path in ("", ".") or target.path.endswith(("/", "/."))
    if not target.exists and not source.is_directory and asks_for_directory:
        raise Failure("no such directory")
    return directory, base


def split_path(path: str) -> tuple[str, str]:
    """Return directory and last component; a `.` at the end counts as one."""
    clean = posixpath.normpath(path or ".")
    if path == "." or path.endswith("/."):
        clean += "/."
    return posixpath.dirname(clean) or ".", posixpath.basename(clean) or "/"


def keep_ending(clean: str, original: str) -> str:
    """Return `clean` with the `/` or `/.` that `original` ended with: it asks for the content."""
    if original == "." or original.endswith("/."):
        return f"{clean.rstrip('/')}/."
    return f"{clean.rstrip('/')}/" if original.endswith("/") else clean


def rename_link(path: str, target: str) -> tuple[str, str]:
    """Return where a link leads, and the name under which it was asked for when that is another."""
    target = keep_ending(target, path)
    own = split_path(path)[1]
    return target, own if own != split_path(target)[1] else ""


def _joined(path: str, target: str) -> str:
    return target if target.startswith("/") else posixpath.join(split_path(path)[0], target)


def _stat_of(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = quickjson.decode(base64.b64decode(response.headers[STAT_HEADER]))
    return found


def _check_output(path: str) -> None:
    directory = os.path.dirname(os.path.normpath(path))
    if not os.path.exists(directory):
        raise Failure(f'invalid output path: directory "{directory}" does not exist')
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise Failure(f'invalid output path: "{path}" must be a directory or a regular file')


def _local_target(path: str) -> End:
    """Look at the place to copy to; links are followed, also one that leads nowhere yet."""
    for _ in range(LINKS_MAX):
        if not os.path.islink(path.rstrip("/")):
            break
        path = os.path.join(os.path.dirname(path.rstrip("/")), os.readlink(path.rstrip("/")))
    if os.path.lexists(path):
        return End(path, True, os.path.isdir(path))
    if path.endswith("/") and os.path.lexists(path.rstrip("/")):
        raise Failure("not a directory")
    return End(path, False)


def _local_source(path: str, follow: bool) -> End:
    """Look at what is to be copied: links before the last component are followed, with `follow` all."""
    renamed = ""
    try:
        if follow:
            path, renamed = rename_link(path, os.path.realpath(path, strict=True))
        elif not path.endswith("/"):
            directory, base = os.path.split(path)
            path = os.path.join(os.path.realpath(directory, strict=True), base)
        status = os.lstat(path)
    except NotADirectoryError:
        raise Failure("not a directory") from None
    except OSError as error:
        raise Failure(f"lstat {error.filename}: {(error.strerror or '').lower()}") from None
    return End(path, True, (status.st_mode & 0o170000) == 0o040000, renamed)


def _container_target(client: Client, container: str, path: str) -> End:
    end = End(path, False)
    try:
        found = stat(client, container, path)
        if found["mode"] & GO_LINK:
            end.path = _joined(path, found["linkTarget"])
            found = stat(client, container, end.path)
    except EngineError:
        return end  # its parent may exist, and then the copy can still succeed
    if found["mode"] & GO_IRREGULAR:
        raise Failure(f'destination "{container}:{path}" must be a directory or a regular file')
    return End(end.path, True, bool(found["mode"] & GO_DIRECTORY))


COMMANDS = {
    "cp": Command(
        "cp",
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tminidock cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files/folders between a container and the local filesystem\n\n"
        "Use '-' as the source to read a tar archive from stdin\n"
        "and extract it to a directory destination in a container.\n"
        "Use '-' as the destination to stream a tar archive of a\n"
        "container source to stdout.",
        run,
        (
            Flag("archive", "a", "bool", "Archive mode (copy all uid/gid information)"),
            Flag("follow-link", "L", "bool", "Always follow symbol link in SRC_PATH"),
            Flag(
                "quiet",
                "q",
                "bool",
                "Suppress progress output during copy. Progress output is automatically suppressed "
                "if no terminal is attached",
            ),
        ),
        (2, 2),
        aliases="container cp, cp",
    )
}
