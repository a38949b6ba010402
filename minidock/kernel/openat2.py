"""openat2(2): open a path inside a root that somebody else may fill with hostile links, even while we look.

Checking a path first and opening it then loses to a rename in between; only the kernel can resolve and open
in one step. Source: openat2(2), path_resolution(7).
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable

from minidock.kernel.libc import encode, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

LINK_LIMIT = 40  # the kernel's own MAXSYMLINKS
RETRY_LIMIT = 128


class OpenHow(ctypes.Structure):
    """struct open_how of <linux/openat2.h>."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` below `dir_fd` under the RESOLVE_* rules and return a close-on-exec descriptor."""
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    arguments = (dir_fd, encode(path), ctypes.byref(how), ctypes.sizeof(how))
    return syscall("openat2", *arguments, about=path)


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `path` as if `root_fd` were `/`: `..` and absolute links stay inside, magic links are refused."""
    for _ in range(RETRY_LIMIT):
        try:
            return openat2(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except BlockingIOError as error:  # EAGAIN: a rename anywhere raced with a `..`
            last = error
    raise last


def make_directories_in_root(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Make `path` and its parents inside the root and return an O_PATH descriptor of it; links stay inside.

    `mode` is subject to the umask. A dangling link on the way gets its target made, inside the root.
    """

    def make(name: str, dir_fd: int) -> None:
        os.mkdir(name, mode, dir_fd=dir_fd)

    return _make_in_root(root_fd, path, make, os.O_PATH | os.O_DIRECTORY)


def make_file_in_root(root_fd: int, path: str, mode: int = 0o644) -> int:
    """Make an empty file `path` inside the root unless something is there; return an O_PATH descriptor of it.

    Parents are made with mode 0755. What exists is never opened, for it may be a device or a pipe;
    IsADirectoryError for a directory.
    """

    def make(name: str, dir_fd: int) -> None:
        os.mknod(name, stat.S_IFREG | mode, dir_fd=dir_fd)

    descriptor = _make_in_root(root_fd, path, make, os.O_PATH)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return descriptor


def _make_in_root(root_fd: int, path: str, make_last: Callable[[str, int], None], flags: int) -> int:
    """Walk `path` from the root, making what is missing: directories, and by `make_last` the last component.

    Every prefix is opened anew from the root, so that the kernel applies `..` and links; only what is missing
    is made, by its name in a directory that is already open.
    """
    pending = _components(path)
    # Mostly it is there, and this one call is enough; else the walk makes it, or names what is in its way.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return open_in_root(root_fd, f"/{'/'.join(pending)}", flags)
    attempts = RETRY_LIMIT + len(pending)
    done = "/"
    parent = open_in_root(root_fd, done, os.O_PATH | os.O_DIRECTORY)
    try:
        while pending:
            name = pending.pop(0)
            here = os.path.join(done, name)
            try:
                child = open_in_root(root_fd, here, os.O_PATH | os.O_DIRECTORY if pending else flags)
            except FileNotFoundError:
                attempts -= 1
                if attempts == 0:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                target = _make_or_read_link(name, parent, _make_parent if pending else make_last)
                if target is None:
                    pending.insert(0, name)
                    continue
                pending[:0] = _components(target)
                if not target.startswith("/"):
                    continue
                here = "/"
                child = open_in_root(root_fd, here, os.O_PATH | os.O_DIRECTORY)
            os.close(parent)
            parent, done = child, here
    except BaseException:
        os.close(parent)
        raise
    return parent


def _make_or_read_link(name: str, dir_fd: int, make: Callable[[str, int], None]) -> str | None:
    """Make `name`, or return the target of the dangling link that is in its place; None: look again."""
    try:
        make(name, dir_fd)
    except FileExistsError:
        try:
            return os.readlink(name, dir_fd=dir_fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
    return None  # made, or somebody else was faster


def _make_parent(name: str, dir_fd: int) -> None:
    os.mkdir(name, 0o755, dir_fd=dir_fd)


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
