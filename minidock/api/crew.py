"""Threads that serve one client after another: making one for each costs more than a short request does."""

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


class Crew:
    """Runs every job at once in a thread of its own; up to `kept` threads wait for the next ones.

    A job must not raise. Safe to use from any thread.
    """

    def __init__(self, name: str, kept: int) -> None:
        self._name = name
        self._kept = kept
        self._free = 0  # threads that wait for a job, or are about to
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def hand_over(self, job: Job) -> None:
        """Let a free thread or a new one do `job`; RuntimeError when none can be made."""
        with self._lock:
            somebody_is_free = self._free > 0
            self._free -= somebody_is_free
        if somebody_is_free:
            self._jobs.put(job)
        else:
            threading.Thread(target=self._work, args=(job,), name=self._name, daemon=True).start()

    def dismiss(self) -> None:
        """Let the threads end that have nothing to do, and the others as soon as they have done it."""
        with self._lock:
            free, self._free, self._kept = self._free, 0, 0
        for _ in range(free):
            self._jobs.put(None)

    def _work(self, job: Job | None) -> None:
        while job is not None:
            job()
            job = None  # nothing of a client that has left is kept while we wait
            with self._lock:
                if self._free >= self._kept:
                    return
                self._free += 1
            job = self._jobs.get()
