"""The json-file log: one JSON object a line, rotated by size, read back by several processes while it grows.

Only the shim writes. A reader may be far behind when the file is rotated, so it keeps its open file and goes
on to the next one when it has read all of it. Format: Docker's json-file driver, `{"log":..., "stream":...,
"time":...}`; a line longer than 16 KiB is split, and a piece without its end has no newline.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

LINE_LIMIT = 16 * 1024
CHUNK = 256 * 1024
BLOCK = 64 * 1024  # of what is read backwards
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))  # what a JSON text has as it is
_encode_text: Callable[[str], str] = json.encoder.encode_basestring  # in C


class Record(NamedTuple):
    """One line of output. `time` is RFC 3339 with nanoseconds; `text` ends with a newline unless the line
    goes on.
    """

    stream: str
    time: str
    text: str


class Position(NamedTuple):
    """A place in the log: so many bytes of this file, and what was waiting for the end of its line there."""

    device: int
    inode: int
    size: int
    partial: dict[str, str]


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
        self._descriptor, self._size, self._is_torn = self._open()

    def write(self, stream: str, data: bytes) -> None:
        """Log the complete lines of `data`; what follows the last newline waits for its end."""
        data = self._partial.pop(stream, b"") + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LINE_LIMIT:
            end = len(data) - len(_pieces(data[end:])[-1])
        if end < len(data):
            self._partial[stream] = data[end:]
            data = data[:end]
        if data:
            self._append(stream, data)

    def position(self) -> Position:
        """Return the place that the log has reached."""
        facts = os.fstat(self._descriptor)
        partial = {stream: data.decode("utf-8", "replace") for stream, data in self._partial.items()}
        return Position(facts.st_dev, facts.st_ino, facts.st_size, partial)

    def flush(self) -> None:
        """Log what has no newline yet: the stream has ended."""
        for stream, data in list(self._partial.items()):
            self._append(stream, data)
        self._partial.clear()

    def close(self) -> None:
        """Log everything and close."""
        self.flush()
        os.close(self._descriptor)

    def _append(self, stream: str, data: bytes) -> None:
        tail = f'"stream":"{stream}","time":"{timestamp(time.time_ns())}"}}\n'
        special = data.translate(None, _PLAIN)
        lines = data.count(b"\n")
        enough = not self._max_size or self._max_size - self._size > 2 * len(data) + lines * (len(tail) + 16)
        if enough and len(special) == lines and _is_of_short_lines(data):
            # What JSON writes as it is, and newlines: two passes in C over the block.
            between = f'\\n",{tail}{{"log":"'.encode()
            self._write_out((b'{"log":"' + data.replace(b"\n", between)).removesuffix(b'{"log":"'))
        elif enough and b"\\" not in special and _is_of_short_lines(data):
            # One pass more: without backslashes in the block, each \n of its JSON form ends a line.
            encoded = _encode_text(data.decode("utf-8", "replace"))[1:-1]
            entries = encoded.replace("\\n", '\\n",' + tail + '{"log":"')
            self._write_out(('{"log":"' + entries.removesuffix('{"log":"')).encode())
        else:
            self._append_each(stream, data.split(b"\n"), "," + tail)

    def _append_each(self, stream: str, lines: list[bytes], tail: str) -> None:
        """Log line by line: long ones in pieces, and with a look at the file's size after each."""
        last = lines.pop()
        pieces = [piece for line in lines for piece in _pieces(line + b"\n")] + _pieces(last)
        batch, size = [], self._size
        for piece in pieces:
            batch.append('{"log":' + _encode_text(piece.decode("utf-8", "replace")) + tail)
            size += len(batch[-1])
            if self._max_size and size >= self._max_size:
                self._write_out("".join(batch).encode())
                self._rotate()
                batch, size = [], 0
        self._write_out("".join(batch).encode())

    def _write_out(self, data: bytes) -> None:
        data = b"\n" + data if self._is_torn and data else data
        self._size += len(data)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            self._is_torn = False
        except OSError:  # the disk is full: these lines are lost, and the container lives on
            self._is_torn = True

    def _open(self) -> tuple[int, int, bool]:
        """Return the file's descriptor, its size, and whether its last line was cut off."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        size = os.fstat(descriptor).st_size
        return descriptor, size, size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"

    def _rotate(self) -> None:
        try:
            for number in range(self._max_file - 1, 0, -1):
                older = f"{self._path}.{number - 1}" if number > 1 else self._path
                with contextlib.suppress(FileNotFoundError):
                    os.rename(older, f"{self._path}.{number}")
            if self._max_file <= 1:
                os.unlink(self._path)
            opened = self._open()
        except OSError:  # rather a file that is too long than lines that are lost; the next rotation may work
            self._size = 0
            return
        os.close(self._descriptor)
        self._descriptor, self._size, self._is_torn = opened


def _is_of_short_lines(data: bytes) -> bool:
    """Tell whether `data` is whole lines, each of which fits into one record."""
    start = 0
    while start < len(data):
        start = data.rfind(b"\n", start, start + LINE_LIMIT) + 1
        if not start:
            return False
    return True


def _pieces(line: bytes) -> list[bytes]:
    """Cut a line that is too long for one record, and not within a character."""
    pieces = []
    while len(line) > LINE_LIMIT:
        ends = (end for end in range(LINE_LIMIT, LINE_LIMIT - 4, -1) if line[end] & 0xC0 != 0x80)
        end = next(ends, LINE_LIMIT)  # it is not UTF-8 if every byte continues a character
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line] if line else pieces


class Reader:
    """Reads the log at `path` from its oldest file on; `read_new` goes on where it stopped, across
    rotations.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._queue = self._open_all()

    def read_new(self) -> Iterator[Record]:
        """Yield the records that are there now and have not been yielded yet.

        What is written meanwhile waits for the next call: a program may write faster than anybody reads.
        """
        self._queue += self._open_after(self._queue[-1]) if self._queue else self._open_all()
        if not self._queue:
            return
        youngest = self._queue[-1]
        size = os.fstat(youngest).st_size
        while len(self._queue) > 1:  # what has a successor is complete
            yield from self._read_file(self._queue[0])
            self._rest = b""  # a line that was cut off by the end of its file
            os.close(self._queue.pop(0))
        yield from self._read_file(youngest, size - os.lseek(youngest, 0, os.SEEK_CUR))

    def read_last(self, count: int, wants: Callable[[Record], bool]) -> list[Record]:
        """Return the wanted records of the last `count` lines; `read_new` goes on after them.

        A long line is several records, of which only the last ends it. Read from the end backwards, so that
        a short tail of a long log costs no more than that of a short one.
        """
        self._queue = self._queue or self._open_all()
        found: list[Record] = []  # youngest first
        lines = 0
        for descriptor in self._queue[::-1]:
            end = _end_of_lines(descriptor)
            if descriptor == self._queue[-1]:
                os.lseek(descriptor, end, os.SEEK_SET)
            for record in filter(wants, _backwards(descriptor, end)):
                lines += record.text.endswith("\n") or not found
                if lines > count:
                    break
                found.append(record)
            if lines > count:
                break
        while len(self._queue) > 1:
            os.close(self._queue.pop(0))
        return found[::-1]

    def read_until(self, position: Position) -> Iterator[Record]:
        """Yield the records up to `position`, from where the last call stopped."""
        self._queue = self._queue or self._open_all()
        while self._queue:
            descriptor = self._queue[0]
            facts = os.fstat(descriptor)
            if (facts.st_dev, facts.st_ino) == (position.device, position.inode):
                yield from self._read_file(descriptor, position.size - os.lseek(descriptor, 0, os.SEEK_CUR))
                return
            yield from self._read_file(descriptor)
            if len(self._queue) == 1:
                self._queue += self._open_after(descriptor)
            self._queue.pop(0)
            os.close(descriptor)

    def close(self) -> None:
        """Close the files."""
        while self._queue:
            os.close(self._queue.pop())

    def _read_file(self, descriptor: int, limit: int | None = None) -> Iterator[Record]:
        """Yield the records of the next `limit` bytes (None: of all)."""
        while data := os.read(descriptor, CHUNK if limit is None else min(CHUNK, max(limit, 0))):
            if limit is not None:
                limit -= len(data)
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                record = _parse(line)
                if record is not None:
                    yield record

    def _open_all(self) -> list[int]:
        """Open the files, oldest first.

        They are opened from the youngest on, the way they move in a rotation: one that comes in between shows
        a file twice and a gap of one number, but hides none.
        """
        found: list[int] = []  # youngest first
        number = missing = 0
        while missing < 2:
            name = f"{self._path}.{number}" if number else self._path
            number += 1
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                missing += 1
                continue
            missing = 0
            facts = os.fstat(descriptor)
            seen = [index for index, one in enumerate(found) if os.path.samestat(os.fstat(one), facts)]
            if seen:  # what was opened after it, at a lower number, is younger: found in its turn, next time
                for younger in found[seen[0] :]:
                    os.close(younger)
                del found[seen[0] :]
            found.append(descriptor)
        return found[::-1]

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


def _end_of_lines(descriptor: int) -> int:
    """Return the offset after the last newline of a file: what follows is being written, or was cut off."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _backwards(descriptor: int, end: int) -> Iterator[Record]:
    """Yield the records of the first `end` bytes, which are whole lines, from the last to the first."""
    rest = b""  # the end of a line whose beginning comes with the next block
    while end:
        start = max(0, end - BLOCK)
        first, *lines = (os.pread(descriptor, end - start, start) + rest).split(b"\n")
        for line in reversed(lines[:-1]):
            if (record := _parse(line)) is not None:
                yield record
        rest, end = first + b"\n" if lines else first, start
    if rest and (record := _parse(rest)) is not None:
        yield record


def _parse(line: bytes) -> Record | None:
    """Decode one line; None for a line that is damaged (the disk was full, the power failed)."""
    try:
        value = json.loads(line)
        return Record(str(value["stream"]), str(value["time"]), str(value["log"]))
    except (ValueError, KeyError, TypeError):
        return None
