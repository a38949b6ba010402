"""Remove and measure directory trees whose content strangers chose: no recursion, no link followed, a bounded
number of names in memory.

shutil.rmtree and os.fwalk recurse, and an archive can nest directories deeper than Python's stack or a
process's descriptors allow. unlinkat(2), openat(2) with O_NOFOLLOW.
"""

import os
import secrets
import stat
from collections import Counter
from contextlib import suppress
from itertools import islice

DEPTH_MAX = 64
MEASURED_DEPTH_MAX = 1000  # each level costs a descriptor and the kernel's buffer of names
NAMES_AT_ONCE = 512  # on every level: DEPTH_MAX directories of a million long names would fill our memory
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(name: str, dir_fd: int | None = None) -> None:
    """Remove the file or directory `name` with all it contains; nothing happens if there is none."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=dir_fd)
            return
        top = os.open(name, _OPEN_DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        while not _empty_directory(top, top, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=dir_fd)


def tree_size(path: str) -> int:
    """Return the bytes of the files below a directory, as deep as MEASURED_DEPTH_MAX.

    A file with n names counts an n-th at each of them, so once in all, and nothing has to be remembered.
    """
    sizes: Counter[int] = Counter()  # by the number of names
    stack = [_Level(os.open(path, _OPEN_DIRECTORY))]
    try:
        while stack:
            here = stack[-1]
            entry = next(here.entries, None)
            if entry is None:
                stack.pop().close()
                continue
            with suppress(FileNotFoundError, NotADirectoryError):  # somebody may be changing it meanwhile
                status = os.stat(entry.name, dir_fd=here.descriptor, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    sizes[status.st_nlink] += status.st_size
                elif len(stack) < MEASURED_DEPTH_MAX:
                    stack.append(_Level(os.open(entry.name, _OPEN_DIRECTORY, dir_fd=here.descriptor)))
    finally:
        for level in stack:
            level.close()
    return sum(size // max(1, names) for names, size in sizes.items())


class _Level:
    """One open directory on the way down, and what is left to read of it; `descriptor` is now ours."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.entries = os.scandir(descriptor)

    def close(self) -> None:
        """Close the directory."""
        self.entries.close()
        os.close(self.descriptor)


def _empty_directory(directory: int, top: int, depth: int) -> bool:
    """Remove what is in `directory`; False if something was too deep and now lies in `top`, to be removed
    in another round."""
    complete = True
    while found := _some_of(directory):
        for name, is_directory in found:
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth == DEPTH_MAX:
                os.rename(name, f".deep-{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
                complete = False
            else:
                child = os.open(name, _OPEN_DIRECTORY, dir_fd=directory)
                try:
                    complete = _empty_directory(child, top, depth + 1) and complete
                finally:
                    os.close(child)
                os.rmdir(name, dir_fd=directory)
    return complete


def _some_of(directory: int) -> list[tuple[str, bool]]:
    """Return what is in a directory, and whether it is one; of very much only the beginning."""
    with os.scandir(directory) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, NAMES_AT_ONCE)]
