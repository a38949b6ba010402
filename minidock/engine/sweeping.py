"""Removing directory trees later: what nobody can see any more may go away after the answer is given.

A tree is first renamed, which is one step and takes no time, and then handed in here; one that is left over
by a crash is handed in again at the next start. rename(2).
"""

import logging
import queue
import shutil
import threading

log = logging.getLogger(__name__)


class Sweeper:
    """One thread that removes trees in the order in which they come."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin; what was handed in before is removed now."""
        self._thread.start()

    def remove(self, directory: str) -> None:
        """Hand in a tree that nobody uses; returns at once."""
        self._queue.put(directory)

    def stop(self) -> None:
        """Finish what was handed in, and end. May be called without `start`."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (directory := self._queue.get()) is not None:
            try:
                shutil.rmtree(directory)
            except FileNotFoundError:
                pass
            except Exception:
                log.exception("cannot remove %s: it is tried again at the next start", directory)
