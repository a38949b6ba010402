"""Ending an engine from outside, whatever state it is in: its processes, its cgroups, its mounts.

The daemon may be dead and its shims alive (they survive it on purpose), so the processes are found by their
cgroup, in which every process of an engine lives: cgroups(7). Nothing outside that cgroup is ever signalled.
"""

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 10.0
MNT_DETACH = 2


def answers(socket_path: str) -> bool:
    """Tell whether somebody accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(socket_path)
        except OSError:
            return False
    return True


def engine(exec_root: Path, parent: str) -> int:
    """Return the pid of the daemon of this exec root, 0 if none runs: a stale file may name a stranger."""
    try:
        pid = int((exec_root / "minidock.pid").read_text())
    except (OSError, ValueError):
        return 0
    return pid if pid in processes(parent) else 0


def terminate(pid: int, gone: Callable[[], bool]) -> None:
    """Ask a process to end, and end it when it does not."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        if _wait(gone):
            return


def end_cgroup(parent: str) -> None:
    """Kill every process in the cgroup `parent` and below, in each hierarchy, then remove those cgroups."""
    tops = [
        top
        for top in (mount + parent for mount in _hierarchies())
        if parent.strip("/") and os.path.isdir(top)
    ]
    for top in tops:
        _wait(lambda top=top: not _kill(top))  # type: ignore[misc]
    for top in tops:
        for directory, _, _ in os.walk(top, topdown=False):
            # A cgroup stays busy for a moment after its last process was reaped.
            _wait(lambda directory=directory: _remove_cgroup(directory))  # type: ignore[misc]


def unmount_below(directory: str) -> None:
    """Detach every mount at or below `directory`, the innermost first."""
    libc = ctypes.CDLL(None, use_errno=True)
    for target in sorted(_mounts_below(directory), key=len, reverse=True):
        libc.umount2(os.fsencode(target), MNT_DETACH)


def processes(parent: str) -> set[int]:
    """Return the processes in the cgroup `parent` and below, over all hierarchies."""
    return {pid for mount in _hierarchies() for pid in _members(mount + parent)}


def _kill(top: str) -> bool:
    """Kill what lives below one cgroup directory; tell whether anything did."""
    found = False
    for directory, _, files in os.walk(top):
        if (
            "freezer.state" in files
        ):  # a frozen process of a v1 hierarchy takes SIGKILL only after it was thawed
            with contextlib.suppress(OSError), open(f"{directory}/freezer.state", "w") as file:
                file.write("THAWED")
    for pid in _members(top):
        found = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _members(top: str) -> list[int]:
    found = []
    for directory, _, files in os.walk(top):
        if "cgroup.procs" in files:
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs") as file:
                found += [int(row) for row in file]
    return found


def _remove_cgroup(directory: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(directory)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            return False
    return True


def _hierarchies() -> Iterator[str]:
    for row in _mountinfo():
        if row[row.index("-") + 1] in ("cgroup", "cgroup2"):
            yield row[4]


def _mounts_below(directory: str) -> Iterator[str]:
    for row in _mountinfo():
        if row[4] == directory or row[4].startswith(f"{directory}/"):
            yield row[4]


def _mountinfo() -> list[list[str]]:
    with open("/proc/self/mountinfo") as file:
        return [row.split() for row in file]


def _wait(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
