"""logs: what a container has written, read back from its json-file log and followed while it grows.

The format and the rotation are the runtime's; here are the user's choices: which streams, since and until
when, how many lines from the end, and whether to go on. Docker Engine API, GET /containers/{id}/logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minidock.engine import log_drivers, times
from minidock.engine.containers import Container, find
from minidock.errors import InvalidParameter, Unsupported
from minidock.kernel.inotify import Watch
from minidock.runtime.logs import Position, Reader, Record

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

    To follow: read, then wait in poll(2) for `follow()` or for the container's end, and read a last time
    after that.
    """

    def __init__(self, container: Container, selection: Selection) -> None:
        self.container = container
        self.run = container.state.started_at  # the last one at this moment
        self._selection = selection
        self._watch: Watch | None = None
        self._reader = Reader(container.log_path)
        self._is_first = True

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        if self._watch is not None:
            self._watch.close()

    def reopen(self) -> None:
        """Open what is there now, if nothing has been read yet."""
        if self._is_first:
            self._reader.close()
            self._reader = Reader(self.container.log_path)

    def follow(self) -> int:
        """Return a descriptor that becomes readable when there may be more; call it before the first
        `read`.
        """
        if self._watch is None:
            self._watch = Watch(self.container.directory)
        return self._watch.fileno()

    def read(self) -> Iterator[Record]:
        """Yield the records written since the last call that are wanted; `tail` counts for the first call
        only.
        """
        if self._watch is not None:
            self._watch.clear()
        if self._is_first and self._selection.tail >= 0:
            self._is_first = False
            yield from self._reader.read_last(self._selection.tail, self._wants)
        else:
            self._is_first = False
            yield from filter(self._wants, self._reader.read_new())

    def read_until(self, position: Position) -> Iterator[Record]:
        """Yield the wanted records from where `read` stopped up to a place that the shim has told, and the
        beginnings of lines that it had not logged there.
        """
        last = [Record(stream, "", text) for stream, text in position.partial.items()]
        for record in (*self._reader.read_until(position), *last):
            if self._wants_stream(record):
                yield record

    def seconds_left(self, now_ns: int) -> float | None:
        """Return for how long there can be more that is wanted; None: for ever."""
        return None if self._selection.until_ns is None else (self._selection.until_ns - now_ns) / 1e9

    def _wants(self, record: Record) -> bool:
        chosen = self._selection
        if not self._wants_stream(record):
            return False
        if chosen.since_ns is None and chosen.until_ns is None:
            return True
        written = times.to_ns(record.time)
        return (chosen.since_ns or 0) <= written <= (written if chosen.until_ns is None else chosen.until_ns)

    def _wants_stream(self, record: Record) -> bool:
        return self._selection.stdout if record.stream == "stdout" else self._selection.stderr


def open_log(engine: Engine, reference: str, selection: Selection) -> Log:
    """Open the container's log. InvalidParameter when no stream is chosen, Unsupported when there is no log
    to read.
    """
    container = find(engine, reference)
    if not (selection.stdout or selection.stderr):
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    if container.record.host_config.log_config.type == log_drivers.NONE:
        raise Unsupported("configured logging driver does not support reading")
    return Log(container, selection)
