"""The tree lease: many may read a stopped container's tree, or one may change it or start the container.

A second mount of the same upperdir succeeds silently and is undefined behaviour (Linux
Documentation/filesystems/overlayfs.rst), so whoever would mount it waits here. A waiting writer keeps new
readers out: a start must not wait for ever behind a stream of exports. Take the lease before the
container's lock.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TreeLease:
    """One container's lease."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._waiting = 0
        self._writer: int | None = (
            None  # the thread, which may take the lease again (a restart within a start)
        )
        self._depth = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lease for reading."""
        with self._changed:
            self._changed.wait_for(lambda: self._writer is None and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lease alone."""
        me = threading.get_ident()
        with self._changed:
            if self._writer != me:
                self._waiting += 1
                try:
                    self._changed.wait_for(lambda: self._writer is None and not self._readers)
                finally:
                    self._waiting -= 1
                self._writer = me
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                if not self._depth:
                    self._writer = None
                    self._changed.notify_all()
