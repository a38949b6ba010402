"""Waiting for a container: an eventfd that becomes readable, and then an answer.

An API thread must notice at once that its client has left, so it cannot sleep on a condition variable: it
polls its client's socket and this descriptor together. eventfd(2), poll(2).
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from minidock.engine.containers import Container, find
from minidock.engine.views import WaitResult
from minidock.errors import InvalidParameter

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

NOT_RUNNING, NEXT_EXIT, REMOVED = "not-running", "next-exit", "removed"


class Waiter:
    """One wait. Poll `fileno()`, then `result()`; close it, or use it in a `with`."""

    def __init__(self, container: Container, condition: str) -> None:
        self.condition = condition
        self._container = container
        self._result: WaitResult | None = None
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the eventfd, readable once the result is there."""
        return self._eventfd

    def result(self) -> WaitResult:
        """Return how the container ended. Call it only after `fileno()` has become readable."""
        assert self._result is not None, "polled too early"
        return self._result

    def close(self) -> None:
        """Stop waiting. May be called twice."""
        with self._container.lock:
            self._container.waiters.discard(self)
            if self._eventfd >= 0:
                os.close(self._eventfd)
                self._eventfd = -1

    def wait(self, timeout: float | None) -> bool:
        """Block until the result is there or `timeout` (None: for ever) has passed; return whether it is
        there.
        """
        poller = select.poll()
        poller.register(self._eventfd, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def finish(self, result: WaitResult) -> None:
        """Set the result; the first one stays. Called with the container's lock held."""
        if self._result is None and self._eventfd >= 0:
            self._result = result
            os.eventfd_write(self._eventfd, 1)


def wait(engine: Engine, reference: str, condition: str = "") -> Waiter:
    """Start waiting for `condition`: not-running (the default), next-exit or removed. The caller closes the
    waiter.
    """
    if condition not in ("", NOT_RUNNING, NEXT_EXIT, REMOVED):
        raise InvalidParameter(f'invalid condition: "{condition}"')
    return watch(find(engine, reference), condition or NOT_RUNNING)


def watch(container: Container, condition: str) -> Waiter:
    """Start waiting for a container already found; it may be done from the beginning."""
    waiter = Waiter(container, condition)
    with container.lock:
        gone = container.status == "gone"
        if gone or (condition == NOT_RUNNING and not container.is_up):
            waiter.finish(outcome(container))
        else:
            container.waiters.add(waiter)
    return waiter


def announce(container: Container, removed: bool = False) -> None:
    """Tell those who wait that a run has ended (or could not start), or that the container is removed."""
    with container.lock:
        for waiter in list(container.waiters):
            if removed or waiter.condition != REMOVED:
                waiter.finish(outcome(container))


def outcome(container: Container) -> WaitResult:
    """Return the exit code of the last run."""
    return WaitResult(status_code=container.state.exit_code)
