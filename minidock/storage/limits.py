"""What one archive may cost: room that stays free on the disk, and how much more may come out than went in.

Nobody else bounds the output of a compressed layer (security.md B7): a 10 MB gzip can hold 10 GB of zeros.
Two rules: the file system keeps a floor of free bytes and inodes whatever an archive says, and beyond
BOMB_FREE_SIZE the output may be at most BOMB_RATIO times the input. DEFLATE reaches 1032:1 on zeros only;
real layers stay below 20:1. statvfs(3).
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

from minidock.errors import InvalidParameter, MinidockError
from minidock.formats.digest import Readable

FREE_FRACTION = 20  # a twentieth, but at most FREE_SIZE_MAX
FREE_SIZE_MAX = 1 << 30
FREE_INODES = 4096
BOMB_FREE_SIZE = 2 << 30
BOMB_RATIO = 250
CHECK_SIZE = 64 << 20
CHECK_ENTRIES = 4096


class Room(NamedTuple):
    """What may still be written above the floor; `entries` counts inodes."""

    size: int
    entries: int


@dataclass
class SpaceGuard:
    """Counts what is written to the file system of `fd`, and raises before that falls below its floor.

    It asks the kernel at the first call, and again when half of the room it was told of is used, or
    CHECK_SIZE bytes or CHECK_ENTRIES calls: others write to the same disk.
    """

    fd: int
    what: str
    _size: int = 0
    _entries: int = 0

    def spend(self, size: int) -> None:
        """Account for `size` bytes that are about to be written."""
        self._size -= size
        self._entries -= 1
        if self._size < 0 or self._entries < 0:
            room = free_room(self.fd, self.what)
            if room.size < size:
                raise MinidockError(f"no space left on device: {self.what} needs more room than there is")
            self._size = min(CHECK_SIZE, room.size // 2)
            self._entries = min(CHECK_ENTRIES, room.entries // 2)


def free_room(fd: int, what: str) -> Room:
    """Return what the file system of `fd` has above its floor; MinidockError if it is below."""
    state = os.fstatvfs(fd)
    floor = min(state.f_blocks * state.f_frsize // FREE_FRACTION, FREE_SIZE_MAX)
    size = state.f_bavail * state.f_frsize - floor
    entries = CHECK_ENTRIES * 2
    if state.f_files:  # file systems that make inodes as needed say 0
        entries = state.f_favail - min(FREE_INODES, state.f_files // FREE_FRACTION)
    if size <= 0 or entries <= 0:
        kept = f"{floor >> 10} KiB" if size <= 0 else "enough inodes"
        raise MinidockError(f"no space left on device: {what} would not leave {kept} free")
    return Room(size, entries)


class CountingReader:
    """Passes a stream through and counts it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""
        data = self._source.read(size)
        self.size += len(data)
        return data


class BombGuard:
    """Passes a decompressor's output through, and raises when it grows out of proportion to `compressed`."""

    def __init__(self, source: Readable, compressed: CountingReader) -> None:
        self._source = source
        self._compressed = compressed
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; InvalidParameter for a bomb."""
        data = self._source.read(size)
        self._size += len(data)
        if self._size > BOMB_FREE_SIZE and self._size > BOMB_RATIO * self._compressed.size:
            raise InvalidParameter(
                f"compressed archive refused: {self._compressed.size} bytes unpack to more than {self._size} "
                f"(a ratio above {BOMB_RATIO})"
            )
        return data
