"""Being told when something in a directory changes, instead of looking again and again.

A follower of a log waits in poll(2) on its client and on this descriptor together. Events say only that it is
time to look: the queue is emptied unread, since a look finds everything. inotify(7).
"""

import os

from minidock.kernel import libc

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x002, 0x080, 0x100
IN_CLOEXEC, IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
IN_ONLYDIR = 0x0100_0000
BUFFER = 64 * 1024


class Watch:
    """A watch on one directory: its files are written, made, or moved into it. Not on those below."""

    def __init__(self, directory: str) -> None:
        self._descriptor = libc.syscall("inotify_init1", IN_CLOEXEC | IN_NONBLOCK)
        try:
            mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR
            libc.syscall("inotify_add_watch", self._descriptor, libc.encode(directory), mask, about=directory)
        except BaseException:
            os.close(self._descriptor)
            raise

    def fileno(self) -> int:
        """Return the descriptor, readable once something has happened since `clear`."""
        return self._descriptor

    def clear(self) -> None:
        """Forget what has happened. Call it before the look, or a change in between is missed."""
        try:
            while os.read(self._descriptor, BUFFER):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Stop watching. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
