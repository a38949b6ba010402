"""A place where a learner's code may do anything: own namespaces, own tree, limits, and a certain end.

The sandbox's first process is pid 1 of its pid namespace, so when that is killed the kernel kills all
others; the time-out therefore always works, whatever the code blocked, ignored or forked. Whatever was
mounted or named in there ends with its last process. pid_namespaces(7), cgroups(7).
"""

import io
import json
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from minidock import ids
from minidock.errors import Unavailable
from minidock.kernel import cgroups, devices, namespaces, process
from minidock.learn import tree

PARENT = "/minidock-learn"
NAMESPACES = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
)
_BROKEN = 97  # the sandbox itself could not be made


@dataclass(frozen=True)
class Room:
    """How much one sandbox may use. Sizes in bytes, time in seconds."""

    memory: int = 512 << 20
    pids: int = 64
    scratch: int = 64 << 20
    timeout: float = 60.0


@dataclass
class Stay:
    """What came out of a sandbox: the records it sent, what was printed in it, and how it ended."""

    records: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""
    timed_out: bool = False
    status: int = 0


@contextmanager
def limits(room: Room) -> Iterator[cgroups.Cgroup]:
    """Make the cgroup that sandboxes run in: memory, processes, and no device but the harmless ones."""
    need_root()
    sweep()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up, as ctrl-c does
    name = "-".join((*map(str, owner(os.getpid())), ids.short(ids.random_id())))
    group = cgroups.at(f"{PARENT}/{name}")
    group.create()
    try:
        group.apply(cgroups.Limits(memory=room.memory, pids=room.pids))
        group.restrict_devices(devices.DEFAULT_RULES)
        yield group
    finally:
        group.kill()
        group.delete()
        signal.signal(signal.SIGTERM, before)
        for directory in group.paths().values():
            with suppress(OSError):  # another grading is under way there
                os.rmdir(os.path.dirname(directory))


def need_root() -> None:
    """Refuse to begin what would end at the first sandbox."""
    if os.geteuid() != 0:
        raise Unavailable("this runs code in a sandbox, and only root can make one: run it with sudo")


def owner(pid: int) -> tuple[int, int, int]:
    """Return who a process is: the inode of its pid namespace, its pid, and when it started (clock ticks).

    ProcessLookupError or FileNotFoundError when it is gone.
    """
    return namespaces.inode(pid, "pid"), pid, process.start_time(pid)


def sweep() -> None:
    """Remove the cgroups of graders that were killed, with whatever still runs in them. Never fails.

    A cgroup's name says who has made it. One from another pid namespace is left alone: from here nobody can
    tell whether its grader lives.
    """
    here = namespaces.inode("self", "pid")
    for name in {name for directory in cgroups.at(PARENT).paths().values() for name in _names(directory)}:
        made = re.fullmatch(r"(\d+)-(\d+)-(\d+)-[0-9a-f]{12}", name)
        if made is None or int(made[1]) != here or _lives(int(made[2]), int(made[3])):
            continue
        group = cgroups.at(f"{PARENT}/{name}")
        with suppress(OSError):  # another grader sweeps it at the same time
            group.kill()
            group.delete()


def _names(directory: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _lives(pid: int, start_time: int) -> bool:
    """Tell whether the process that started then still runs: a zombie does not, nor another of its pid."""
    try:
        pidfd = process.pidfd_open(pid)
    except OSError:
        return False
    try:
        return process.start_time(pid) == start_time and not process.has_exited(pidfd)
    except OSError:
        return False
    finally:
        os.close(pidfd)


def stay(inside: Callable[[int], None], group: cgroups.Cgroup, room: Room) -> Stay:
    """Run `inside(records)` as pid 1 of a new sandbox until it returns or its time is over.

    `records` is a descriptor to which `inside` writes JSON lines. The caller must be single-threaded.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what waits in a buffer would be written by the clone too, as if printed in there
    reading, writing = os.pipe2(os.O_CLOEXEC)
    printed = os.memfd_create("printed")
    join = group.join_descriptors()
    try:
        pid = process.clone(NAMESPACES)
        if pid == 0:
            os.close(reading)
            _live(inside, writing, printed, join, room)
        os.close(writing)
        writing = -1
        result = _watch(reading, pid, room.timeout)
        result.printed = os.pread(printed, 1 << 16, 0).decode(errors="replace")
        return result
    finally:
        for descriptor in (reading, writing, printed, *join):
            if descriptor >= 0:
                os.close(descriptor)


def _live(inside: Callable[[int], None], records: int, printed: int, join: list[int], room: Room) -> None:
    """Be pid 1 of the sandbox. Nothing above this frame may run here."""
    code = _BROKEN
    try:
        process.set_parent_death_signal(signal.SIGKILL)  # what a killed grader leaves behind ends too
        os.setsid()
        for number in (1, 2):
            os.dup2(printed, number)
        os.close(printed)
        sys.stdout = sys.stderr = _unbuffered(1)
        cgroups.join_by(join)
        records = os.dup2(records, 3, inheritable=False)
        process.close_range(4)  # what the caller itself was given is no part of the sandbox
        # As pid 1 it gets no signal from inside but those that it has a handler for, and Python has one.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        tree.build(room.scratch)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        if null != 0:
            os.close(null)
        inside(records)
        code = 0
    except BaseException:
        with suppress(OSError):
            os.write(records, json.dumps({"broken": traceback.format_exc(limit=-4)}).encode() + b"\n")
    finally:
        os._exit(code)


def _unbuffered(descriptor: int) -> io.TextIOWrapper:
    """Return a stream that keeps nothing back: these processes end without flushing, or become programs."""
    return io.TextIOWrapper(
        cast("io.BufferedWriter", io.FileIO(descriptor, "w", closefd=False)),  # as `python -u` has it
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def _watch(reading: int, pid: int, timeout: float) -> Stay:
    """Collect records until pid 1 is gone, at most `timeout` seconds."""
    result, data = Stay(), b""
    deadline = time.monotonic() + timeout
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                result.timed_out = True
                break
            block = os.read(reading, 65536)
            if not block:
                break
            data += block
    except BaseException:  # ctrl-c: nobody waits for the rest
        deadline = 0.0
        raise
    finally:
        if result.timed_out:
            os.kill(pid, signal.SIGKILL)
        result.status = _reap(pid, deadline)
    for line in data.split(b"\n")[:-1]:
        result.records.append(json.loads(line))
    return result


def _reap(pid: int, deadline: float) -> int:
    """Wait for pid 1; kill it when it outlives the deadline with its pipe closed."""
    pidfd = process.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]
