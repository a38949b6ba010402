"""Another order of the steps, and a search of its own."""

import fcntl
import os

from minidock.kernel import process


def connect(descriptors):
    wanted = {number: fcntl.fcntl(given, fcntl.F_DUPFD, 10) for number, given in enumerate(descriptors)}
    for number in sorted(wanted, reverse=True):
        os.dup2(wanted[number], number)
    process.close_range(min(wanted.values()), max(wanted.values())) if _is_block(wanted) else _each(wanted)


def _is_block(wanted):
    return False


def _each(wanted):
    for copy in wanted.values():
        os.close(copy)


def execute(arguments, environment, descriptors=(0, 1, 2)):
    process.reset_signals()
    process.close_range(3, flags=process.CLOSE_RANGE_CLOEXEC)
    connect(descriptors)
    name = arguments[0]
    if "/" in name:
        os.execve(name, arguments, environment)
    for directory in environment.get("PATH", "/usr/bin:/bin").split(":"):
        try:
            os.execve(os.path.join(directory, name), arguments, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(2, "not found", name)


def exit_code(wait_status):
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        return 128 + abs(code)
    return code
