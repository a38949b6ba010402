"""A container's log as `docker logs` sends it: with or without times, in frames or raw.

Source: Docker Engine API, "Stream format" and ContainerLogs.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minidock.api.query import Query
from minidock.engine.logs import Selection
from minidock.errors import InvalidParameter
from minidock.runtime.logs import Record

STREAM_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}
BATCH_SIZE = 64 * 1024
_HEADER = struct.Struct(">BxxxL")


@dataclass(frozen=True)
class Form:
    """How records are written: in frames (where there is no terminal), with times, with the log driver's
    attributes (`details`; None: without).
    """

    framed: bool
    timestamps: bool = False
    details: str | None = None

    def encode(self, records: Iterable[Record]) -> Iterator[bytes]:
        """Return the records as pieces for the client, each of about BATCH_SIZE bytes."""
        batch = bytearray()
        for record in records:
            text = record.text.encode("utf-8", "surrogateescape")
            if self.details is not None:
                text = self.details.encode() + b" " + text
            if self.timestamps:
                text = record.time.encode() + b" " + text
            if self.framed:
                batch += _HEADER.pack(STREAM_NUMBERS[record.stream], len(text))
            batch += text
            if len(batch) >= BATCH_SIZE:
                yield bytes(batch)
                batch.clear()
        if batch:
            yield bytes(batch)


def parse_selection(query: Query) -> Selection:
    """Read what the client wants of the log; InvalidParameter when it chose no stream."""
    selection = Selection(
        stdout=query.boolean("stdout"),
        stderr=query.boolean("stderr"),
        since_ns=query.time_ns("since"),
        until_ns=query.time_ns("until"),
        tail=_tail(query.text("tail")),
    )
    if not (selection.stdout or selection.stderr):
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    return selection


def _tail(text: str) -> int:
    """Return the number of lines; as in Docker, whatever is not a number means all of them."""
    return int(text) if text.isascii() and text.isdecimal() else -1
