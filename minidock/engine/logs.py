"""logs: what a container has written, read back from its json-file log and followed while it grows.

The format and the rotation are the runtime's; here are the user's choices: which streams, since and until
when, how many lines from the end, and whether to go on. Docker Engine API, GET /containers/{id}/logs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minidock.engine import times
from minidock.engine.containers import Container, find
from minidock.errors import InvalidParameter, Unsupported
from minidock.runtime.logs import Reader, Record

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


@dataclass(frozen=True)
class Selection:
    """What to show. `tail` is a number of lines, -1 for all; times are nanoseconds since 1970, None for no
    border.
    """

    stdout: bool = True
    stderr: bool = True
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int = -1


class Log:
    """An open log. `read` yields what is there now; call it again to follow. Usable in `with`.

    To follow: read, then wait a moment or for `container.is_running` to become false, and read a last time
    after that.
    """

    def __init__(self, container: Container, selection: Selection) -> None:
        self.container = container
        self._selection = selection
        self._reader = Reader(container.log_path)
        self._is_first = True

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def read(self) -> Iterator[Record]:
        """Yield the records written since the last call that are wanted; `tail` counts for the first call
        only.
        """
        records = (record for record in self._reader.read_new() if self._wants(record))
        if self._is_first and self._selection.tail >= 0:
            self._is_first = False
            yield from _last_lines(records, self._selection.tail)
        else:
            self._is_first = False
            yield from records

    def is_past_until(self, now_ns: int) -> bool:
        """Return whether nothing more can be wanted at the time `now_ns`."""
        return self._selection.until_ns is not None and now_ns > self._selection.until_ns

    def _wants(self, record: Record) -> bool:
        chosen = self._selection
        if not (chosen.stdout if record.stream == "stdout" else chosen.stderr):
            return False
        if chosen.since_ns is None and chosen.until_ns is None:
            return True
        written = times.to_ns(record.time)
        return (chosen.since_ns or 0) <= written <= (written if chosen.until_ns is None else chosen.until_ns)


def open_log(engine: Engine, reference: str, selection: Selection) -> Log:
    """Open the container's log. InvalidParameter when no stream is chosen, Unsupported when there is no log
    to read.
    """
    container = find(engine, reference)
    if not (selection.stdout or selection.stderr):
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    if container.record.host_config.log_config.type == "none":
        raise Unsupported("configured logging driver does not support reading")
    return Log(container, selection)


def _last_lines(records: Iterator[Record], count: int) -> Iterator[Record]:
    """Yield the records of the last `count` lines; a long line is several records of which only the last ends
    it.
    """
    kept: deque[list[Record]] = deque(maxlen=count)
    line: list[Record] = []
    for record in records:
        line.append(record)
        if record.text.endswith("\n"):
            kept.append(line)
            line = []
    if line:
        kept.append(line)
    for pieces in kept:
        yield from pieces
