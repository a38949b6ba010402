"""What the layers below show at a path, without mounting them: needed while a layer is unpacked above them.

Two things in a layer depend on what lies below. A directory that the archive only implies (`a/b` without an
entry `a`) hides the metadata of the lower `a`, so it has to take it over. And a whiteout for something that
is not there would stay visible in listings, since overlayfs only merges directories that exist in two
layers. Linux Documentation/filesystems/overlayfs.rst.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.formats.whiteout import OVERLAY_OPAQUE_VALUE, OVERLAY_OPAQUE_XATTR
from minidock.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Found:
    """A file of a lower layer: its status and its extended attributes."""

    status: os.stat_result
    xattrs: dict[str, bytes]


class LowerLayers:
    """The unpacked layers below, topmost first, as directory descriptors that the caller owns."""

    def __init__(self, directories: Sequence[int] = ()) -> None:
        self._directories = directories

    def find(self, path: str) -> Found | None:
        """Return what the stack shows at the relative `path`, or None: absent, hidden, or behind
        something not a directory."""
        for directory in self._directories:
            try:
                fd = openat2(directory, path or ".", _PATH_ONLY, resolve=_RESOLVE)
            except FileNotFoundError:
                if self._is_cut_off(directory, path):
                    return None
                continue
            except OSError:  # ENOTDIR or ELOOP: a parent is a whiteout, a file or a link here
                return None
            try:
                status = os.fstat(fd)
                return None if is_whiteout(status) else Found(status, read_xattrs(fd))
            finally:
                os.close(fd)
        return None

    def _is_cut_off(self, directory: int, path: str) -> bool:
        """Tell whether an opaque parent of `path` in this layer hides all layers below it."""
        parent = os.path.dirname(path)
        while parent:
            try:
                fd = openat2(directory, parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, resolve=_RESOLVE)
            except FileNotFoundError:
                pass
            except OSError:
                return True
            else:
                try:
                    if is_opaque(fd):
                        return True
                finally:
                    os.close(fd)
            parent = os.path.dirname(parent)
        return False


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether this is overlayfs' whiteout: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Tell whether overlayfs shows nothing of the layers below in this directory (an ordinary descriptor)."""
    try:
        return os.getxattr(directory, OVERLAY_OPAQUE_XATTR) == OVERLAY_OPAQUE_VALUE
    except OSError:
        return False


def read_xattrs(fd: int) -> dict[str, bytes]:
    """Return the attributes of a file that are its own, not overlayfs'; `fd` may be an O_PATH descriptor."""
    path = f"/proc/self/fd/{fd}"
    names = os.listxattr(path)
    return {name: os.getxattr(path, name) for name in names if not name.startswith("trusted.")}
