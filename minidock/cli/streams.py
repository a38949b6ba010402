"""The multiplexed stream: stdout and stderr on one connection, in frames of eight bytes and data.

Docker Engine API, "Attach to a container", Stream format: type, three zeros, length (big-endian), payload.
"""

from __future__ import annotations

import os

from minidock.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)
HEADER_SIZE = 8


class Demultiplexer:
    """Turns blocks of the connection, cut anywhere, into (stream, data)."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what `block` adds; data is passed on before its frame is complete."""
        position = 0
        while position < len(block):
            if self._left:
                data = block[position : position + self._left]
                self._left -= len(data)
                position += len(data)
                if self._stream == SYSTEM_ERROR:
                    raise Failure(f"error from daemon in stream: {data.decode(errors='replace')}")
                yield self._stream, data
                continue
            missing = HEADER_SIZE - len(self._header)
            self._header += block[position : position + missing]
            position += missing
            if len(self._header) == HEADER_SIZE:
                self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                if self._stream > SYSTEM_ERROR:
                    raise Failure(f"Unrecognized input header: {self._stream}")
                self._header = b""


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, waiting when the descriptor is a terminal that someone made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            import select

            select.select([], [descriptor], [])
