"""From a prepared process to the program: descriptors, signals, search in PATH, execve.

What a program inherits is everything that its parent forgot to clean. Python itself starts with SIGPIPE and
SIGXFSZ ignored, and ignored signals survive execve: `yes | head -1` would never end in such a container.
execve(2), signal(7).
"""

import errno
import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from typing import NoReturn

from minidock.kernel import process

FIRST_BESIDE_STREAMS = 3  # after standard input, output and error
# Where a program is looked for when its environment has no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramNotFound(OSError):
    """A bare command name that no directory of PATH holds."""


def search(name: str, path: str) -> str:
    """Return the executable file that `name` means, as execvp(3) would find it.

    A name with a slash is taken as it is. Raises ProgramNotFound, or PermissionError when only a file that
    may not be executed was found.
    """
    if "/" in name:
        return name
    refused = False
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if not os.path.isfile(candidate):
            continue
        if os.access(candidate, os.X_OK, effective_ids=True):
            return candidate
        refused = True
    if refused:
        raise PermissionError(errno.EACCES, "permission denied", name)
    raise ProgramNotFound(errno.ENOENT, "executable file not found in $PATH", name)


def find(name: str, environment: Mapping[str, str]) -> str:
    """Return the file that `execute` would execute; OSError when it is not there or not executable."""
    path = search(name, environment.get("PATH", DEFAULT_PATH))
    if not stat.S_ISREG(os.stat(path).st_mode) or not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, "permission denied", name)
    return path


def execute(
    arguments: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int] = (0, 1, 2)
) -> NoReturn:
    """Replace this process by the program, which gets the three `descriptors` as its 0, 1, 2, and no more.

    A bare name is looked for in the PATH of `environment`, or in DEFAULT_PATH when that has none. Every other
    descriptor of ours closes when the program starts, and not before: an error still has a way out.
    Raises OSError with the program's name when it cannot be executed.
    """
    path = search(arguments[0], environment.get("PATH", DEFAULT_PATH))
    connect(descriptors)
    process.close_range(FIRST_BESIDE_STREAMS, flags=process.CLOSE_RANGE_CLOEXEC)
    process.reset_signals()
    try:
        os.execve(path, [os.fsencode(item) for item in arguments], dict(environment))
    except OSError as error:
        raise type(error)(error.errno, os.strerror(error.errno or 0).lower(), arguments[0]) from error


def connect(descriptors: Sequence[int]) -> None:
    """Make `descriptors` the process's 0, 1, 2, ..., in this order, whatever their numbers are now."""
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, len(descriptors)) for descriptor in descriptors]
    for number, descriptor in enumerate(above):
        os.dup2(descriptor, number, inheritable=True)
        os.close(descriptor)
