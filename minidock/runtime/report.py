"""Which step of init is under way, told to two listeners: the trace, and on failure the launcher.

The launcher learns of success by silence: the channel is close-on-exec, so its end means that the program
runs.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minidock.kernel import trace
from minidock.runtime import program, protocol

LONGEST_REPORT = 4096  # characters; names of files that a user chose are in it


class Steps:
    """The current step. `with steps("enter the root", root.enter, path=...)` names what the block does."""

    def __init__(self, channel: socket.socket, records: trace.Trace) -> None:
        self.current = "prepare"
        self.channel = channel
        self._records = records

    @contextmanager
    def __call__(self, name: str, function: Callable[..., object], **facts: Any) -> Iterator[None]:
        """Run the block as step `name`; `function` is the one whose code a reader should open."""
        self.current = name
        with self._records.step(name, function=qualified(function), **facts):
            yield

    def begin(self, name: str, function: Callable[..., object], **facts: Any) -> None:
        """Record a step that does not come back."""
        self.current = name
        self._records.record(name, function=qualified(function), **facts)

    def report(self, error: BaseException) -> None:
        """Send the failure to the launcher: the step, errno (0 if none) and a message that names the
        object.
        """
        try:
            number = error.errno if isinstance(error, OSError) and error.errno else 0
            text = describe(error)[:LONGEST_REPORT]
            protocol.send(self.channel, {"step": self.current, "errno": number, "error": text})
        except OSError:
            # The launcher has long gone (`create` of runc): what is left is the program's standard error.
            os.write(2, f"{self.current}: {describe(error)}\n".encode())
            os._exit(127)


def qualified(function: Callable[..., object]) -> str:
    """Return `module:function`, the form in which chapters and the trace name a function."""
    return f"{function.__module__}:{function.__qualname__}"


def describe(error: BaseException) -> str:
    """Word `error` as Docker's users know it: the notes first (outermost step first), then the cause."""
    notes = list(reversed(getattr(error, "__notes__", [])))
    if isinstance(error, program.ProgramNotFound):
        cause = f'exec: "{error.filename}": executable file not found in $PATH'
    elif isinstance(error, OSError) and error.errno:
        text = error.strerror or os.strerror(error.errno)
        text = text[:1].lower() + text[1:]
        cause = f"{error.filename}: {text}" if error.filename is not None else text
    else:
        cause = str(error) or type(error).__name__
    return ": ".join([*notes, cause])
