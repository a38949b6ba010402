"""A room: a thread with a mount namespace of its own, where mounts can be put together that nobody else sees.

Mounts cannot be composed below a detached tree (move_mount(2) gives EINVAL, Linux 6.18), and before Linux
6.15 a detached tree cannot be cloned either; both need a mount namespace that the mounts are attached in.
The thread lives as long as the room, and the kernel frees what is mounted in it when the thread ends,
however the daemon ends. unshare(2), mount_namespaces(7).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from minidock.kernel import mounts
from minidock.kernel.namespaces import CLONE_FS, CLONE_NEWNS, unshare

Result = TypeVar("Result")


class Room:
    """Runs functions in the thread. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mount-room", daemon=True)
        self._thread.start()
        try:
            self.call(_move_in)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run `function` in the room and return or raise what it does."""
        future: Future[Result] = Future()
        self._work.put((function, future))
        return future.result()

    def close(self) -> None:
        """End the thread; its mounts go with it, but for those that a descriptor still names. May be called
        twice.
        """
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            function, future = item
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            del item, function, future


def _move_in() -> None:
    """Take this thread into a mount namespace of its own, where nothing leaves and nothing comes in."""
    unshare(CLONE_NEWNS | CLONE_FS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
