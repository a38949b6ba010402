"""Trace records: one JSON line per step on a descriptor that comes with the start, for `run --explain`.

There is no global: whoever narrates is handed a Trace, and one without a descriptor costs nothing. Each line
is one write(2), which a pipe keeps whole up to PIPE_BUF bytes when several processes write (pipe(7)).
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Trace:
    """Where the steps of one start are written; `fd` stays the caller's, None means that nobody listens."""

    def __init__(self, fd: int | None) -> None:
        self.fd = fd

    def record(self, step: str, **facts: Any) -> None:
        """Write {"step", "time_ns" (CLOCK_MONOTONIC), **facts} as one line; `facts` must be JSON values."""
        if self.fd is None:
            return
        line = json.dumps({"step": step, "time_ns": time.monotonic_ns(), **facts}) + "\n"
        try:
            os.write(self.fd, line.encode())
        except BrokenPipeError:
            self.fd = None  # the reader left; a container does not fail for want of an audience

    @contextmanager
    def step(self, name: str, function: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Record `name` when the body ends, with "function" ("module:function") and "duration_ns".

        Yields a dict into which the body may put what it made. A body that raises is recorded with "error".
        """
        found: dict[str, Any] = {}
        if self.fd is None:
            yield found
            return
        begin = time.monotonic_ns()
        try:
            yield found
        except BaseException as error:
            found["error"] = str(error)
            raise
        finally:
            duration_ns = time.monotonic_ns() - begin
            self.record(name, function=function, duration_ns=duration_ns, **(facts | found))
