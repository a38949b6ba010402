"""The names in a directory, in their order and some of them at a time.

A container can fill a directory with a million long names and nest such directories as deep as a path is
long, and whoever lists them all is out of memory. So the next names are looked for again when the last ones
are used up, and directories on the way down keep only a few while one below them is read.
"""

import heapq
from collections.abc import Iterable, Sequence

NAMES_AT_ONCE = 20_000
KEPT_NAMES = 64


class OrderedNames:
    """What is left of one directory's names. `pop` until None; then `take`, as long as it `has_more`."""

    def __init__(self) -> None:
        self._names: list[str] = []  # the next one last
        self._after = ""
        self.has_more = True

    def __len__(self) -> int:
        return len(self._names)

    def pop(self) -> str | None:
        """Return the next name; None when those at hand are used up."""
        return self._names.pop() if self._names else None

    def take(self, found: Iterable[str]) -> None:
        """Take the next names out of all that the directory has; what is found twice counts once."""
        names = heapq.nsmallest(NAMES_AT_ONCE, (name for name in found if name > self._after))
        self.has_more = len(names) == NAMES_AT_ONCE
        self._names = list(dict.fromkeys(reversed(names)))
        self._after = names[-1] if names else self._after

    def end(self) -> None:
        """Have no more names: the directory has vanished."""
        self._names, self.has_more = [], False

    def forget(self) -> None:
        """Keep only the next few names at hand."""
        if len(self._names) > KEPT_NAMES:
            self._names = self._names[-KEPT_NAMES:]
            self._after, self.has_more = self._names[0], True


def forget_many(waiting: Sequence[OrderedNames]) -> None:
    """Let the directories on the way down forget names, if they have too many together."""
    if sum(map(len, waiting)) > NAMES_AT_ONCE:
        for names in waiting:
            names.forget()
