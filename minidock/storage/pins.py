"""Pins: what running work has found or made in the store, and no sweep may take before a record names it.

References on disk are computed, never counted; but between "this layer is already here" and the record that
uses it lies a moment in which another thread may sweep. A pin is taken under the store's lock together with
the look-up, and lives in memory only: after a crash nothing is pinned, which is right, for the work that
pinned it is gone too.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Pin:
    """The names (digests and ChainIDs) that one piece of work holds, and those of them that it made."""

    def __init__(self, pins: "Pins") -> None:
        self._pins = pins
        self.names: set[str] = set()
        self.brought: set[str] = set()

    def bring(self, name: str) -> None:
        """Hold `name`, which this work has just put into the store."""
        self.brought.add(name)
        self.add(name)

    def add(self, name: str) -> None:
        """Hold `name` until the work ends."""
        with self._pins.lock:
            if name not in self.names:
                self.names.add(name)
                self._pins.held[name] += 1


class Pins:
    """All pins of one store, under the store's one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.held: Counter[str] = Counter()

    @contextmanager
    def hold(self) -> Iterator[Pin]:
        """Give out a pin for the duration of a block."""
        pin = Pin(self)
        try:
            yield pin
        finally:
            self.release(pin)

    def release(self, pin: Pin) -> None:
        """Let go of all that a pin holds; once or more often."""
        with self.lock:
            self.held.subtract(pin.names)
            self.held += Counter()  # drops the zeros
            pin.names.clear()

    def is_held(self, name: str) -> bool:
        """Tell whether any work holds `name`."""
        return self.held[name] > 0
