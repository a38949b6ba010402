"""The json-file log: one JSON object a line, rotated by size, read back by several processes while it grows.

Only the shim writes. A reader may be far behind when the file is rotated, so it keeps its open file and goes
on to the next one when it has read all of it. Format: Docker's json-file driver, `{"log":..., "stream":...,
"time":...}`; a line longer than 16 KiB is split, and a piece without its end has no newline.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

LINE_LIMIT = 16 * 1024
_encode_text = json.JSONEncoder(ensure_ascii=False).encode


class Record(NamedTuple):
    """One line of output. `time` is RFC 3339 with nanoseconds; `text` ends with a newline unless the line
    goes on.
    """

    stream: str
    time: str
    text: str


def timestamp(ns: int) -> str:
    """Format nanoseconds since the epoch as RFC 3339 in UTC, always with nine digits."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


class Writer:
    """Appends to `path`; above `max_size` bytes (0: never) files move to path.1, path.2, ..., `max_file` in
    all.
    """

    def __init__(self, path: str, max_size: int, max_file: int) -> None:
        self._path = path
        self._max_size = max_size
        self._max_file = max_file
        self._partial: dict[str, bytes] = {}
        self._open()

    def write(self, stream: str, data: bytes) -> None:
        """Log the complete lines of `data`; what follows the last newline waits for its end."""
        data = self._partial.pop(stream, b"") + data
        lines = data.splitlines(keepends=True) if b"\r" not in data else _split(data)
        if not data.endswith(b"\n") and len(lines[-1]) < LINE_LIMIT:
            self._partial[stream] = lines.pop()
        self._append(stream, lines)

    def flush(self) -> None:
        """Log what has no newline yet: the stream has ended."""
        for stream, data in list(self._partial.items()):
            self._append(stream, [data])
        self._partial.clear()

    def close(self) -> None:
        """Log everything and close."""
        self.flush()
        os.close(self._descriptor)

    def _append(self, stream: str, lines: list[bytes]) -> None:
        tail = f',"stream":"{stream}","time":"{timestamp(time.time_ns())}"}}\n'
        room = self._max_size - self._size if self._max_size else None
        batch: list[str] = []
        for line in lines:
            for start in range(0, len(line), LINE_LIMIT):
                piece = line[start : start + LINE_LIMIT].decode("utf-8", "replace")
                entry = '{"log":' + _encode_text(piece) + tail
                batch.append(entry)
                if room is not None:
                    room -= len(entry)
                    if room <= 0:
                        self._flush_batch(batch)
                        self._rotate()
                        room = self._max_size
        self._flush_batch(batch)

    def _flush_batch(self, batch: list[str]) -> None:
        data = "".join(batch).encode()
        batch.clear()
        self._size += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        os.close(self._descriptor)
        for number in range(self._max_file - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                os.rename(older, f"{self._path}.{number}")
        if self._max_file <= 1:
            os.unlink(self._path)
        self._open()


def _split(data: bytes) -> list[bytes]:
    """Split at newlines only: bytes.splitlines also splits at carriage returns, which belong to the line."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


class Reader:
    """Reads the log at `path` from its oldest file on; `read_new` goes on where it stopped, across
    rotations.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._queue = self._open_all()

    def read_new(self) -> Iterator[Record]:
        """Yield the records written since the last call."""
        while self._queue:
            descriptor = self._queue[0]
            yield from self._read_file(descriptor)
            if len(self._queue) == 1 and not self._has_successor(descriptor):
                return
            yield from self._read_file(descriptor)  # what came between the last read and the rotation
            if len(self._queue) == 1:
                self._queue += self._open_after(descriptor)
            self._queue.pop(0)
            os.close(descriptor)

    def close(self) -> None:
        """Close the files."""
        while self._queue:
            os.close(self._queue.pop())

    def _read_file(self, descriptor: int) -> Iterator[Record]:
        while data := os.read(descriptor, 256 * 1024):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                record = _parse(line)
                if record is not None:
                    yield record

    def _names(self) -> list[str]:
        number, names = 1, [self._path]
        while os.path.exists(f"{self._path}.{number}"):
            names.insert(0, f"{self._path}.{number}")
            number += 1
        return names

    def _open_all(self) -> list[int]:
        descriptors: list[int] = []
        for name in self._names():
            with contextlib.suppress(FileNotFoundError):
                descriptors.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC))
        return descriptors

    def _has_successor(self, descriptor: int) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False  # in the middle of a rotation: the next call sees the new file

    def _open_after(self, descriptor: int) -> list[int]:
        """Open the files younger than `descriptor`'s, oldest first; all of them if it was rotated away."""
        everything = self._open_all()
        mine = os.fstat(descriptor)
        for index, other in enumerate(everything):
            if os.path.samestat(os.fstat(other), mine):
                for older in everything[: index + 1]:
                    os.close(older)
                return everything[index + 1 :]
        return everything


def _parse(line: bytes) -> Record | None:
    """Decode one line; None for a line that is damaged (the disk was full, the power failed)."""
    try:
        value = json.loads(line)
        return Record(str(value["stream"]), str(value["time"]), str(value["log"]))
    except (ValueError, KeyError, TypeError):
        return None
