"""Fill and dress one file of an archive: content, holes, owner, mode, extended attributes.

The order is the kernel's: chown(2) clears setuid bits and the file's capabilities, so mode and attributes
come after the owner. What cannot be opened (a device, a pipe, a link) is dressed through /proc's magic link
to exactly its inode, since chmod(2) and setxattr(2) on a name would follow a link that somebody put there
meanwhile.
"""

import os

from minidock.errors import InvalidParameter
from minidock.formats.tarheader import SYMLINK, Entry
from minidock.storage.tarstream import TarReader


def write(fd: int, piece: memoryview) -> None:
    """Write all of `piece`."""
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, piece[written:])


def write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write the stored pieces of a sparse file to their places and leave holes between them."""
    os.ftruncate(fd, entry.real_size)
    for offset, length in entry.sparse or []:
        os.lseek(fd, offset, os.SEEK_SET)
        missing = length
        while missing:
            piece = reader.read(missing)
            write(fd, memoryview(piece))
            missing -= len(piece)


def dress(fd: int, entry: Entry) -> None:
    """Give an open file or directory its owner, mode and extended attributes."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for key, value in entry.xattrs.items():
        os.setxattr(fd, _checked(key, entry), value)


def dress_by_path(directory: int, name: str, entry: Entry) -> None:
    """Dress a file that cannot be opened (a device, a pipe, a link), through /proc's magic link to
    exactly this inode."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        path = f"/proc/self/fd/{fd}"
        os.chown(path, entry.uid, entry.gid)
        if entry.type != SYMLINK:
            os.chmod(path, entry.mode)
        for key, value in entry.xattrs.items():
            os.setxattr(path, _checked(key, entry), value)
    finally:
        os.close(fd)


def _checked(key: str, entry: Entry) -> str:
    if key.startswith("trusted."):  # trusted.overlay.* would speak to overlayfs in our name
        raise InvalidParameter(f"invalid tar entry: {entry.name!r} has the extended attribute {key!r}")
    return key
