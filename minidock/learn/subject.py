"""A process in which a learner's functions run, and what the examiner can learn of it from outside.

It runs one body and then stands still, so that its namespaces, descriptors and mounts can be looked at as
the learner's code left them. What it says travels on a pipe that closes at exec: silence with a living
process means that it has become another program.
"""

import fcntl
import json
import os
import select
import signal
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from minidock.kernel import process
from minidock.learn import piece as pieces
from minidock.learn.chapters import Chapter

Body = Callable[[types.SimpleNamespace], Any]
_HIGH = 200  # the pipes move up here, out of the way of what a learner's code does with small numbers


class Subject:
    """The process; `outcome` is what became of its body, once `wait` has returned."""

    def __init__(self, piece: pieces.Piece, chapter: Chapter, body: Body, flags: int = 0) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        held, holding = os.pipe2(os.O_CLOEXEC)
        self.pid = process.clone(flags)
        if self.pid == 0:
            os.close(reading)
            os.close(holding)
            _run(piece, chapter, body, _raised(writing), _raised(held))
        os.close(writing)
        os.close(held)
        self._reading, self._holding = reading, holding
        self.outcome: dict[str, Any] = {}
        self.status: int | None = None

    def wait(self, seconds: float) -> dict[str, Any]:
        """Return what became of the body: {"value", "repr", "types"}, {"raised"...}, {"became": True}, or
        {"stuck": True}.
        """
        if self.outcome and "stuck" not in self.outcome:
            return self.outcome
        data = b""
        deadline = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self._reading, select.POLLIN)
        while waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            block = os.read(self._reading, 65536)
            if not block:
                break
            data += block
            if data.endswith(b"\n"):
                self.outcome = json.loads(data.splitlines()[0])  # a stray child may have spoken too
                return self.outcome
        else:
            self.outcome = {"stuck": True}
            return self.outcome
        self.outcome = {"became": True}
        return self.outcome

    def end(self, seconds: float) -> int | None:
        """Wait until the process has ended by itself; return its wait status, None when it has not."""
        deadline = time.monotonic() + seconds
        while self.status is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            else:
                time.sleep(0.002)
        return self.status

    def release(self) -> None:
        """Let a body that has come back end its process."""
        if self._holding >= 0:
            os.close(self._holding)
            self._holding = -1

    def close(self) -> None:
        """End the process, whatever it does."""
        self.release()
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                self.status = os.waitpid(self.pid, 0)[1]
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


def open_descriptors() -> list[int]:
    """Return the caller's open descriptors, without the one that lists them."""
    names = os.listdir("/proc/self/fd")
    return sorted(int(name) for name in names if os.path.lexists(f"/proc/self/fd/{name}"))


def _raised(descriptor: int) -> int:
    """Move a descriptor to a high number, still close-on-exec."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(descriptor)
    return high


def _run(piece: pieces.Piece, chapter: Chapter, body: Body, say: int, held: int) -> None:
    """Be the subject. Nothing above this frame may run here."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the examiner has another one
        try:
            message = _told(body(pieces.load(piece, chapter)))
        except BaseException as error:
            message = {**describe(error, piece.path), "traceback": traceback.format_exc(limit=-6)}
        os.write(say, json.dumps(message).encode() + b"\n")
        os.read(held, 1)
    finally:
        os._exit(0)


def _told(value: object) -> dict[str, Any]:
    """Return a body's value as data, with its own words and its types: JSON knows no tuple and no set."""
    told = {"repr": repr(value), "types": [each.__name__ for each in type(value).__mro__]}
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return {**told, "value": told["repr"]}
    return {**told, "value": value}


def describe(error: BaseException, path: str) -> dict[str, Any]:
    """Return an exception as data: with the last line of the learner's file that it came through."""
    line, code, function = 0, "", ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line, code, function = frame.lineno or 0, frame.line or "", frame.name
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
    return {
        "raised": type(error).__name__,
        "message": str(error),
        "is_os_error": isinstance(error, OSError),
        "errno": error.errno if isinstance(error, OSError) else None,
        "filename": str(error.filename) if isinstance(error, OSError) and error.filename is not None else "",
        "notes": list(getattr(error, "__notes__", [])),
        "line": line,
        "code": code,
        "function": function,
    }
