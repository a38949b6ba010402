"""`-o FILE` of `save` and `export`: a tar that gets its name only when it is complete."""

from __future__ import annotations

import os
import stat
import sys

from minidock.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.cli.connection import Response

NO_TARGETS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link directly"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device file"),
    (stat.S_ISBLK, "a block device file"),
)


def write(path: str, ask: Callable[[], Response], task: str) -> None:
    """Write the body of the answer to `ask` to `path`, "" for standard output, which must be no terminal.

    Failure says which `task` ("save image") has failed, before anything is asked.
    """
    if not path and sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if problem := _problem(path) if path else "":
        raise Failure(f"failed to {task}: {problem}")
    response = ask()
    if not path:
        for block in response.blocks():
            sys.stdout.buffer.write(block)
        return
    temporary = f"{path}.partial-{os.getpid()}"
    with open(temporary, "wb") as file:
        try:
            file.writelines(response.blocks())
            file.flush()
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def _problem(path: str) -> str:
    directory = os.path.dirname(path)
    try:
        if directory and not stat.S_ISDIR(os.stat(directory).st_mode):
            return f"invalid output path: stat {directory}: not a directory"
    except OSError as error:
        return f"invalid output path: stat {directory}: {(error.strerror or '').lower()}"
    try:
        mode = os.lstat(path).st_mode  # a rename replaces a link, it does not follow it
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"failed to stat output path: lstat {path}: {(error.strerror or '').lower()}"
    return next((f"cannot write to {what}" for is_it, what in NO_TARGETS if is_it(mode)), "")
