"""The shim's event loop: descriptors and what to do when they are ready.

`selectors` cannot watch a descriptor for hang-up alone, which is how a client that has sent its end of input
and later leaves is noticed. epoll(7): EPOLLHUP and EPOLLERR are always reported.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ, WRITE, HANGUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR

Ready = Callable[[int], None]


class Loop:
    """Calls, for each watched descriptor that is ready, its function with the epoll events."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Ready]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # keeps timers of one moment in their order

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` on `events` of `descriptor` (0: hang-up only) from now on, instead of what was asked
        before.
        """
        before = self._watched.get(descriptor)
        if before is None:
            self._epoll.register(descriptor, events)
        elif before[0] != events:
            self._epoll.modify(descriptor, events)
        self._watched[descriptor] = (events, ready)

    def forget(self, descriptor: int) -> None:
        """Stop watching `descriptor`; call it before closing. Harmless when it is not watched."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call `call` once, `delay` seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), call))

    def run_once(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds (None: for ever) and serve what is ready."""
        if self._timers:
            left = max(0.0, self._timers[0][0] - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        for descriptor, events in self._epoll.poll(timeout):
            entry = self._watched.get(descriptor)  # an earlier one of this round may have forgotten it
            if entry is not None:
                entry[1](events)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
