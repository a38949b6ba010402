"""`learn run`: the real engine with a learner's functions in it, in a sandbox, for the real docker CLI.

The engine lives in namespaces of its own, sees the host's files read-only and keeps all it makes in one
scratch tmpfs, so it is gone when its first process is killed. Its socket is reached through /proc/PID/root,
which needs no file on the host. proc(5), cgroup_namespaces(7).
"""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from minidock.engine.own_cgroup import enter_leaf
from minidock.errors import MinidockError
from minidock.kernel import cgroups, namespaces, process
from minidock.learn import canary, sandbox, tree
from minidock.learn.chapters import Chapter
from minidock.learn.piece import Piece

ROOM = sandbox.Room(memory=1 << 30, pids=1024, scratch=1 << 30)
START_TIMEOUT = 30.0
SOCKET = f"{tree.SCRATCH}/s"
LOG = f"{tree.SCRATCH}/daemon.log"
PAGE = f"{tree.SCRATCH}/canary"
_KEEPER = "keeper"


@dataclass(frozen=True)
class Swapped:
    """One chapter's file in the engine: the functions that it brings."""

    chapter: Chapter
    piece: Piece

    @property
    def names(self) -> list[str]:
        return [seam.name for seam in self.chapter.seams if not seam.own]


class PrivateEngine:
    """A running engine between `with` and its end; `host` is what DOCKER_HOST must be to reach it."""

    def __init__(self, swapped: Sequence[Swapped]) -> None:
        self._swapped = swapped
        self._limits = sandbox.limits(ROOM)
        self._pid = -1
        self._page = -1
        self._log = -1

    @property
    def host(self) -> str:
        return f"unix:///proc/{self._pid}/root{SOCKET}"

    @property
    def names(self) -> list[str]:
        return [name for each in self._swapped for name in each.names]

    def __enter__(self) -> Self:
        group = self._limits.__enter__()
        try:
            self._start(group)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid > 0:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = -1
        for descriptor in (self._page, self._log):
            if descriptor >= 0:
                os.close(descriptor)
        self._page = self._log = -1
        self._limits.__exit__(None, None, None)

    def proof(self) -> dict[str, tuple[int, int]]:
        """Return how often each replaced function ran in the engine, and in which process last."""
        return canary.read(self._page, self.names)

    def failures(self) -> list[str]:
        """Return what the learner's functions raised, each with the line that did."""
        found: dict[tuple[str, int, str], str] = {}
        raised = canary.raised(self._page, self.names)
        for each in self._swapped:
            lines = each.piece.text.splitlines()
            for name in filter(raised.__contains__, each.names):
                line, words = raised[name]
                where = f"line {line} of {each.piece.path}: {lines[line - 1].strip()}"
                found.setdefault((each.piece.path, line, words), f"{name} raised {words} ({where})")
        return list(found.values())

    def log(self) -> str:
        """Return what the engine logged; it can be read when the engine is gone, too."""
        if self._log < 0:
            return ""
        return os.pread(self._log, 1 << 20, 0).decode(errors="replace")

    def _start(self, group: cgroups.Cgroup) -> None:
        hierarchy = cgroups.hierarchy()
        ready, told = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = process.clone(sandbox.NAMESPACES)
            if self._pid == 0:
                _keep(self._swapped, hierarchy, group, told)
            os.close(told)
            told = -1
            problem = os.read(ready, 65536).decode()
        finally:
            for descriptor in (ready, told):
                if descriptor >= 0:
                    os.close(descriptor)
        if problem:
            raise MinidockError(f"the private engine could not be started: {problem}")
        self._page = os.open(f"/proc/{self._pid}/root{PAGE}", os.O_RDONLY | os.O_CLOEXEC)
        self._log = os.open(f"/proc/{self._pid}/root{LOG}", os.O_RDONLY | os.O_CLOEXEC)
        self._await_socket()

    def _await_socket(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as trial:
                trial.connect(self.host.removeprefix("unix://"))
                return
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                self._pid = -1
                raise MinidockError(f"the private engine ended at its start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise MinidockError(f"the private engine did not start: {self._last_words()}")
            time.sleep(0.02)

    def _last_words(self) -> str:
        """Return why the engine ended: what is wrong with the learner's file, or whole lines of the log."""
        lines = self.log().splitlines()
        unloaded = [line for line in lines if line.startswith(canary.UNLOADED)]
        return unloaded[0] if unloaded else "\n".join(lines[-10:]) or "it said nothing"


def _keep(swapped: Sequence[Swapped], hierarchy: cgroups.Hierarchy, group: cgroups.Cgroup, told: int) -> None:
    """Be pid 1 around the engine: build the sandbox, start the daemon, reap. Nothing above may run here."""
    try:
        process.set_parent_death_signal(signal.SIGKILL)  # the engine ends with the command that started it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        group.join()  # in every hierarchy, the version 2 tree of a hybrid host too: the namespace begins here
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)
        tree.build(ROOM.scratch, hierarchy)
        enter_leaf(hierarchy.at(f"/{_KEEPER}"))  # version 2 allows no process beside the engine's cgroups
        canary.make(PAGE, [name for each in swapped for name in each.names])
        daemon = _spawn(swapped)
        os.close(told)
        while True:
            pid, _ = os.wait()
            if pid == daemon:
                os._exit(1)
    except BaseException:
        with suppress(OSError):
            os.write(told, traceback.format_exc(limit=-4).encode())
    finally:
        os._exit(1)


def _spawn(swapped: Sequence[Swapped]) -> int:
    """Start the daemon with the learner's functions."""
    command = [sys.executable, "-m", "minidock.learn.private_engine", SOCKET]
    names = [name for each in swapped for name in each.names]
    for each in swapped:
        for name in each.names:
            path = f"{tree.SCRATCH}/{name.replace(':', '.')}.py"
            function = name.partition(":")[2]
            with open(path, "w", encoding="utf-8") as file:
                file.write(_wrapper(each, function, names))
            command.append(f"{name}={path}")
        if each.chapter.road is not None:
            name, road = each.chapter.road
            command.append(f"{name}={each.chapter.directory / road}")
    with open(LOG, "wb") as log:
        environment = {
            **os.environ,
            "TMPDIR": tree.SCRATCH,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/"
        ).pid


def _wrapper(each: Swapped, function: str, names: Sequence[str]) -> str:
    """Return the file that --replace loads: the learner's function behind its counter."""
    functions = [name.partition(":")[2] for name in names if name in each.names]
    first = names.index(each.names[0])
    return (
        f'"""{function} of {each.piece.path}, with its calls counted."""\n'
        "from minidock.learn import canary\n"
        f"{function} = canary.counted({each.piece.path!r}, {function!r}, {functions!r}, {PAGE!r}, {first})\n"
    )
