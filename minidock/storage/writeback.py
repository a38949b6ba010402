"""Make what was written durable: one syncfs(2) for thousands of files, and most of it done before it is due.

An fsync for each of 8,700 files would cost one disk flush each. One syncfs at the end costs one, but then the
disk has idled while the archive was unpacked, and the processor idles while the disk writes all of it. So a
thread calls syncfs now and then meanwhile, and the last one finds little left. syncfs(2): since Linux 5.8 it
reports a failed write to every descriptor that was open when it failed, so the last call uses one that has
been open from the start.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

from minidock.kernel.libc import syscall

INTERVAL = 0.2  # seconds between two syncs


def sync_file_system(directory: str) -> None:
    """Wait until all that has been written to the file system of `directory` is on the disk."""
    with _opened(directory) as descriptor:
        syscall("syncfs", descriptor)


@contextlib.contextmanager
def written_behind(directory: str) -> Iterator[None]:
    """Let the disk write during the block; after it, all that was written below `directory` is durable.

    Raises OSError when the disk failed; the last sync is left out when the block itself fails.
    """
    ended = threading.Event()
    with _opened(directory) as first, _opened(directory) as last:
        thread = threading.Thread(target=_sync_until, args=(ended, first), name="writeback")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        syscall("syncfs", last)


def _sync_until(ended: threading.Event, descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the last sync will tell
        while not ended.wait(INTERVAL):
            syscall("syncfs", descriptor)


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
