"""The examiner's own view of the processes in its sandbox, which no unmount in there can take away.

A detached procfs shows in nobody's mountinfo and is attached nowhere, so a learner's code cannot cover,
unmount or even find it. proc(5), fsopen(2).
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from minidock.kernel import mounts
from minidock.learn import tree

_USER_TIME, _SYSTEM_TIME = 11, 12  # the fields of proc_pid_stat(5), counted from the state behind the name
_TICKS = os.sysconf("SC_CLK_TCK")
_HARDLY = 1.0  # seconds


@dataclass(frozen=True)
class View:
    """What the witness sees of its surroundings."""

    mounts: tuple[str, ...]
    hostname: str
    directory: str
    processes: tuple[int, ...]


class Eyes:
    """A procfs of one's own; the file names are relative to it: `12/status`."""

    def __init__(self) -> None:
        detached = mounts.detached("proc", [])
        try:
            # A mount's own descriptor is O_PATH and cannot be listed: open its root.
            self.descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=detached)
        finally:
            os.close(detached)

    def close(self) -> None:
        os.close(self.descriptor)

    def read(self, name: str) -> bytes:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            blocks = []
            while block := os.read(file, 65536):
                blocks.append(block)
            return b"".join(blocks)
        finally:
            os.close(file)

    def link(self, name: str) -> str:
        return os.readlink(name, dir_fd=self.descriptor)

    def descriptors(self, pid: int) -> dict[int, str]:
        """Return the open descriptors of a process and what they are."""
        folder = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            found = {}
            for name in os.listdir(folder):
                with suppress(FileNotFoundError):  # closed meanwhile
                    found[int(name)] = os.readlink(name, dir_fd=folder)
            return found
        finally:
            os.close(folder)

    def status(self, pid: int) -> dict[str, str]:
        """Return /proc/PID/status as a table."""
        lines = (line.partition(":") for line in self.read(f"{pid}/status").decode().splitlines())
        return {name: value.strip() for name, _, value in lines}

    def mountinfo(self, pid: int) -> list[str]:
        """Return the lines of the process's mountinfo as the kernel writes them."""
        return self.read(f"{pid}/mountinfo").decode(errors="surrogateescape").splitlines()

    def namespace(self, pid: int, file: str) -> str:
        """Return a namespace's identity, like `uts:[4026531838]`; `file` as in /proc/PID/ns."""
        return self.link(f"{pid}/ns/{file}")

    def root_entries(self, pid: int) -> list[str]:
        """Return what stands in the process's root directory."""
        folder = os.open(f"{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            return sorted(os.listdir(folder))
        finally:
            os.close(folder)

    def has_directory(self, pid: int, path: str) -> bool:
        """Tell whether the process sees a directory at the absolute `path`."""
        with suppress(OSError):
            return stat.S_ISDIR(os.stat(f"{pid}/root{path}", dir_fd=self.descriptor).st_mode)
        return False

    def processes(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self.descriptor) if name.isdecimal())

    def is_starved(self, seconds: float) -> bool:
        """Tell whether somebody else here wants to run and has hardly run yet: the machine is busy.

        Hardly is less than `seconds`, and less than one.
        """
        hardly = min(seconds, _HARDLY)
        for pid in self.processes():
            with suppress(OSError):
                state, used = self.work(pid)
                if pid != os.getpid() and state in "RD" and used < hardly:
                    return True
        return False

    def work(self, pid: int) -> tuple[str, float]:
        """Return a process's state (a letter) and the processor time that it has used, in seconds."""
        fields = self.read(f"{pid}/stat").rpartition(b")")[2].split()
        return fields[0].decode(), (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS

    def view(self, pid: int) -> View:
        """Return what process `pid` (of the sandbox's namespaces) sees."""
        return View(
            mounts=tuple(line for line in self.mountinfo(pid) if tree.is_own(line.split()[4])),
            hostname=os.uname().nodename,
            directory=self.link(f"{pid}/cwd"),
            processes=tuple(self.processes()),
        )
