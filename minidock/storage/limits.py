"""What one archive may cost: room that stays free on the disk, and how much more may come out than went in.

Nobody else bounds the output of a compressed layer (security.md B7): a 10 MB gzip can hold 10 GB of zeros.
Two rules: the file system keeps a floor of free bytes and inodes whatever an archive says, and beyond
BOMB_FREE_SIZE the output may be at most BOMB_RATIO times the input. DEFLATE reaches 1032:1 on zeros only;
real layers stay below 20:1. statvfs(3).
"""

import os
from dataclasses import dataclass

from minidock.errors import InvalidParameter, MinidockError
from minidock.formats.digest import Readable

FREE_FRACTION = 20  # a twentieth, but at most FREE_SIZE_MAX
FREE_SIZE_MAX = 1 << 30
FREE_INODES = 4096
BOMB_FREE_SIZE = 2 << 30
BOMB_RATIO = 250
CHECK_SIZE = 64 << 20
CHECK_ENTRIES = 4096


@dataclass
class SpaceGuard:
    """Counts what is written to the file system of `fd`, and raises before that falls below its floor.

    It asks the kernel at the first call and then every CHECK_SIZE bytes or CHECK_ENTRIES calls.
    """

    fd: int
    what: str
    _size: int = CHECK_SIZE
    _entries: int = CHECK_ENTRIES

    def spend(self, size: int) -> None:
        """Account for `size` bytes that are about to be written."""
        self._size += size
        self._entries += 1
        if self._size >= CHECK_SIZE or self._entries >= CHECK_ENTRIES:
            check_space(self.fd, self._size, self.what)
            self._size = self._entries = 0


def check_space(fd: int, size: int, what: str) -> None:
    """Raise MinidockError unless the file system of `fd` has room for `size` more bytes and keeps its
    floor."""
    state = os.fstatvfs(fd)
    floor = min(state.f_blocks * state.f_frsize // FREE_FRACTION, FREE_SIZE_MAX)
    if state.f_bavail * state.f_frsize < floor + min(size, CHECK_SIZE):
        raise MinidockError(f"no space left on device: {what} would leave less than {floor >> 20} MiB free")
    if state.f_files and state.f_favail < min(FREE_INODES, state.f_files // FREE_FRACTION):
        raise MinidockError(f"no space left on device: {what} would use up the file system's inodes")


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
