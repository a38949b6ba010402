"""Mounts: the classic mount(2), and the descriptors of mounts that are attached nowhere yet.

A detached mount shows in nobody's mountinfo and is freed when its last descriptor closes, whoever dies how;
that is how we hold a file system until it is attached inside a container's own mount namespace. mount(2),
umount(2), pivot_root(2), open_tree(2), move_mount(2), fsopen(2), mount_setattr(2), proc_pid_mountinfo(5).
"""

import ctypes
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minidock.kernel.libc import encode, libc, syscall

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096  # what is at the source is at the target too
MS_MOVE = 8192
MS_REC = 16384  # not this mount alone, but all below it
MS_SILENT = 1 << 15
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18  # neither hears of the mounts of its copies nor tells them of its own
MS_SLAVE = 1 << 19  # hears of the mounts of its copies, and does not tell them of its own
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_FORCE = 1
MNT_DETACH = 2  # out of sight at once, with all below it, and freed with the last user
MNT_EXPIRE = 4
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_SYMLINKS = 0x01
MOVE_MOUNT_F_AUTOMOUNTS = 0x02
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_AUTOMOUNTS = 0x20
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_SET_GROUP = 0x100
MOVE_MOUNT_BENEATH = 0x200

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70  # the mask of the three below: to change one, clear the mask
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

PROC_SUPER_MAGIC = 0x9FA0

_MESSAGE_SIZE = 4096
_SEVERITY = {"e": "error", "w": "warning", "i": "info"}

# libc["fstatfs"] is a fresh function object, so declaring its types does not touch anybody else's.
_fstatfs = libc["fstatfs"]
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
_fstatfs.restype = ctypes.c_int

Path = str | bytes | os.PathLike[str]


def mount(
    source: Path | None, target: Path, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Mount, bind, move, remount or change propagation, as `flags` (MS_*) say; None: no source, type or data.

    `data` is at most one page.
    """
    arguments = (_optional(source), encode(target), _optional(fstype), flags, _optional(data))
    try:
        syscall("mount", *arguments, about=os.fspath(target))
    except OSError as error:
        error.add_note(f"source {source!r}, type {fstype!r}, flags {flags:#x}, data {data!r}")
        raise


def umount(target: Path, flags: int = 0) -> None:
    """Unmount what is on `target`; with MNT_DETACH it disappears now and is freed with its last user."""
    syscall("umount2", encode(target), flags, about=os.fspath(target))


def pivot_root(new_root: Path, put_old: Path) -> None:
    """Make the mount `new_root` the root of the mount namespace and move the old root to `put_old`.

    With "." for both, the old root ends on top of the new one and is unmounted by umount(".", MNT_DETACH).
    """
    syscall("pivot_root", encode(new_root), encode(put_old), about=os.fspath(new_root))


def open_tree(path: Path, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, dir_fd: int = AT_FDCWD) -> int:
    """Return a descriptor of the mount at `path`; with OPEN_TREE_CLONE, of a detached copy (a bind mount).

    With AT_RECURSIVE the mounts below are copied too; with AT_EMPTY_PATH and an empty path `dir_fd` is meant.
    """
    return syscall("open_tree", dir_fd, encode(path), flags | OPEN_TREE_CLOEXEC, about=os.fspath(path))


def move_mount(
    from_fd: int,
    to_path: Path,
    to_fd: int = AT_FDCWD,
    flags: int = MOVE_MOUNT_F_EMPTY_PATH,
    from_path: Path = "",
) -> None:
    """Attach the mount `from_fd` (or `from_path` below it) at `to_path`; an empty one means `to_fd` itself.

    A link as last component is not followed. The descriptor stays open and now names the attached mount.
    """
    if not encode(to_path):
        flags |= MOVE_MOUNT_T_EMPTY_PATH
    about = os.fspath(to_path) or f"descriptor {to_fd}"
    syscall("move_mount", from_fd, encode(from_path), to_fd, encode(to_path), flags, about=about)


def fsopen(fstype: str) -> int:
    """Return the configuration context of a new file system; OSError(ENODEV) for an unknown type."""
    return syscall("fsopen", encode(fstype), FSOPEN_CLOEXEC, about=fstype)


def fsconfig_set_string(fd: int, key: str, value: str) -> None:
    """Set `key=value`; a value is at most 255 bytes long."""
    with _explained(fd):
        syscall("fsconfig", fd, FSCONFIG_SET_STRING, encode(key), encode(value), 0, about=f"{key}={value}")


def fsconfig_set_flag(fd: int, key: str) -> None:
    """Set an option that has no value, such as `ro`."""
    with _explained(fd):
        syscall("fsconfig", fd, FSCONFIG_SET_FLAG, encode(key), None, 0, about=key)


def fsconfig_create(fd: int) -> None:
    """Make the file system from its configuration."""
    with _explained(fd):
        syscall("fsconfig", fd, FSCONFIG_CMD_CREATE, None, None, 0, about="create")


def fsmount(fd: int, attributes: int = 0) -> int:
    """Return a detached mount (MOUNT_ATTR_*) of the file system that was created in context `fd`."""
    with _explained(fd):
        return syscall("fsmount", fd, FSMOUNT_CLOEXEC, attributes, about=f"descriptor {fd}")


def fs_log(fd: int) -> list[str]:
    """Take the kernel's messages out of a context, oldest first; they begin with "error: " or "warning: "."""
    messages: list[str] = []
    while True:
        try:
            message = os.read(fd, _MESSAGE_SIZE)
        except OSError as error:
            if error.errno == errno.ENODATA:
                return messages
            raise
        severity, _, text = os.fsdecode(message).strip().partition(" ")
        messages.append(f"{_SEVERITY.get(severity, severity)}: {text}")


@contextmanager
def _explained(fd: int) -> Iterator[None]:
    """Add the context's messages to an OSError: its errno alone (mostly EINVAL) says nothing."""
    try:
        yield
    except OSError as error:
        for message in fs_log(fd):
            error.add_note(message)
        raise


def detached(fstype: str, options: Iterable[tuple[str, str | None]], attributes: int = 0) -> int:
    """Make a file system and return its detached mount; `options` are (key, value), None for a flag."""
    context = fsopen(fstype)
    try:
        for key, value in options:
            if value is None:
                fsconfig_set_flag(context, key)
            else:
                fsconfig_set_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)
    finally:
        os.close(context)


class MountAttributes(ctypes.Structure):
    """struct mount_attr of <linux/mount.h>."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def mount_setattr(
    fd: int, path: Path, set: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Change MOUNT_ATTR_* and propagation (MS_PRIVATE, MS_SLAVE, ...) of a mount, all mounts below or none.

    An empty `path` means `fd` itself, else it is relative to `fd` (AT_FDCWD: the working directory).
    """
    attributes = MountAttributes(set, clear, propagation, 0)
    flags = (AT_RECURSIVE if recursive else 0) | (0 if encode(path) else AT_EMPTY_PATH)
    arguments = (fd, encode(path), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
    syscall("mount_setattr", *arguments, about=os.fspath(path) or f"descriptor {fd}")


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system of `fd`, also an O_PATH one (statfs(2), f_type)."""
    buffer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes, and its first member is f_type
    if _fstatfs(fd, buffer) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"descriptor {fd}")
    return buffer[0]


@dataclass(frozen=True)
class MountInfo:
    """One line of /proc/PID/mountinfo, unescaped.

    `root` is what of the file system is mounted, `target` where, as the reader's root sees it. `shared` and
    `master` are peer group numbers; `propagate_from` is the nearest group that the reader sees.
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    shared: int | None
    master: int | None
    propagate_from: int | None
    unbindable: bool
    fstype: str
    source: str
    super_options: tuple[str, ...]


def mountinfo(pid: int | str = "self") -> list[MountInfo]:
    """Return the mounts that process `pid` sees, in the kernel's order; it may be "self" or "thread-self"."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return [_parse_line(line) for line in file.read().splitlines()]


def _parse_line(line: bytes) -> MountInfo:
    # Split at single spaces: a source may be empty. No field ends with a bare "-" before the separator.
    fields = line.split(b" ")
    separator = fields.index(b"-", 6)
    tags = dict(field.partition(b":")[::2] for field in fields[6:separator])
    fstype, source, super_options = fields[separator + 1 : separator + 4]
    return MountInfo(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=fields[2].decode(),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        options=_split_options(fields[5]),
        shared=_group(tags, b"shared"),
        master=_group(tags, b"master"),
        propagate_from=_group(tags, b"propagate_from"),
        unbindable=b"unbindable" in tags,
        fstype=_unescape(fstype),
        source=_unescape(source),
        super_options=_split_options(super_options),
    )


def _group(tags: dict[bytes, bytes], name: bytes) -> int | None:
    return int(tags[name]) if name in tags else None


def _split_options(field: bytes) -> tuple[str, ...]:
    return tuple(_unescape(option) for option in field.split(b","))


def _unescape(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field))


def _optional(text: Path | None) -> bytes | None:
    return None if text is None else encode(text)
