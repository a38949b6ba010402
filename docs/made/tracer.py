"""Write down every call and every executed line of minidock, in this process and in those forked from it.

Imported by the traced processes themselves, so it needs nothing but the standard library. The calls go to
memory that the processes share: init closes every descriptor that it does not know, and leaves the file
system of the host. Each role writes slots of its own; their times order them. sys.settrace in Python's
documentation, mmap(2).
"""

import itertools
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFIX = os.path.join(TOP, "minidock") + os.sep
ROLES = ("cli", "daemon", "spawner", "shim", "init")
# A forked process is known by the first function that only it runs.
BECOMES = {"minidock.runtime.shim:main": "shim", "minidock.runtime.init:run": "init"}
SLOT, SLOTS = 160, 1 << 15  # bytes, and slots of each role; a role that runs through them begins anew
GENERATION = SLOT * SLOTS * len(ROLES)  # the byte that says which recording this is
SIZE = GENERATION + 1


class Tracer:
    """What one process knows; forked processes have a copy of it and write to the same memory."""

    def __init__(self, memory: mmap.mmap, role: str) -> None:
        self.memory = memory
        self.role = role
        self.process = os.getpid()
        self.count = itertools.count()
        self.generation = -1
        self.lines: set[tuple[str, int]] = set()  # what was written already: a loop is one line

    def called(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        """Serve sys.settrace: write the call, and ask for the lines of functions of minidock."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PREFIX):
            return None
        name = code.co_qualname.partition(".<locals>")[0]
        module = code.co_filename[len(TOP) + 1 : -3].replace(os.sep, ".").removesuffix(".__init__")
        if name.startswith("<"):
            return None
        function = f"{module}:{name}"
        self.role = BECOMES.get(function, self.role)
        self.write(f"call {function}")
        if self.generation != self.memory[GENERATION]:
            self.generation = self.memory[GENERATION]
            self.lines = set()

        def line(inner: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
            place = module, inner.f_lineno
            if event == "line" and place not in self.lines:
                self.lines.add(place)
                self.write(f"line {module}:{inner.f_lineno}")
            return line

        return line

    def write(self, words: str) -> None:
        """Write one slot; a forked child goes on elsewhere than its parent, which writes at the same time."""
        if self.process != os.getpid():
            self.process = os.getpid()
            self.count = itertools.count(next(self.count) + SLOTS // 2)
        text = f"{time.monotonic_ns()} {self.role} {words}".encode()[:SLOT].ljust(SLOT)
        begin = (ROLES.index(self.role) * SLOTS + next(self.count) % SLOTS) * SLOT
        self.memory[begin : begin + SLOT] = text


def install(path: str, role: str) -> None:
    """Begin to write what this process does to the file `path`, which `clear` has made."""
    with open(path, "r+b") as file:
        tracer = Tracer(mmap.mmap(file.fileno(), SIZE), role)
    threading.settrace(tracer.called)
    sys.settrace(tracer.called)


def install_in_daemon(path: str) -> None:
    """Trace the daemon, and the spawner that it will start."""
    from minidock.runtime import sealed

    original = sealed.command

    def command(module: str, *arguments: str) -> list[str]:
        words = original(module, *arguments)
        begin = f"import sys; sys.path.insert(0, {TOP!r}); from docs.made import tracer; "
        at = words.index("-c") + 1
        words[at] = f"{begin}tracer.install({path!r}, 'spawner'); {words[at]}"
        return words

    sealed.command = command
    install(path, "daemon")


def clear(path: str) -> None:
    """Make the file `path`, or forget what it holds; the processes that have it mapped write on."""
    with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
        file.truncate(SIZE)
        with mmap.mmap(file.fileno(), SIZE) as memory:
            generation = memory[GENERATION]
            memory[:] = bytes(SIZE)
            memory[GENERATION] = (generation + 1) % 256


def read(path: str) -> list[tuple[str, str, str]]:
    """Return (role, "call" or "line", place) for everything in the file, in the order of time."""
    with open(path, "rb") as file:
        slots = iter(lambda: file.read(SLOT), b"")
        found = [slot.decode().split() for slot in slots if slot[0] and len(slot) == SLOT]
    return [(role, kind, place) for _, role, kind, place in sorted(found, key=lambda words: int(words[0]))]
