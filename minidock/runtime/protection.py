"""What of /proc and /sys a container must not see or write: masked paths, read-only paths, sysctls.

The kernel files are shared with the host, so they are covered by mounts. Two traps shaped this: the source of
a mask must be what it seems (an image can bring a `/dev/null` of its own), and a write meant for procfs must
reach procfs. OCI runtime specification, maskedPaths and readonlyPaths; mount_setattr(2).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping

from minidock.kernel import mounts, openat2
from minidock.runtime import filesystems

NULL_DEVICE = os.makedev(1, 3)
_WITHIN_ONE_MOUNT = openat2.RESOLVE_NO_SYMLINKS | openat2.RESOLVE_NO_XDEV
_CLONE = mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC | mounts.AT_EMPTY_PATH


def host_null() -> int:
    """Open the host's /dev/null and prove that it is the null device (O_PATH; before the root changes)."""
    descriptor = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    facts = os.fstat(descriptor)
    if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != NULL_DEVICE:
        os.close(descriptor)
        raise OSError(errno.ENODEV, "is not the null device", "/dev/null")
    return descriptor


def mask(root: int, paths: Iterable[str], null: int) -> None:
    """Cover each existing file of `paths` with the null device and each directory with one empty read-only
    tmpfs.
    """
    empty = -1
    try:
        for path in paths:
            target = _existing(root, path)
            if target < 0:
                continue
            try:
                if not stat.S_ISDIR(os.fstat(target).st_mode):
                    _cover(target, null)
                    continue
                if empty >= 0:
                    _cover(target, empty)
                    continue
                options = [("nr_blocks", "1"), ("nr_inodes", "1")]
                empty = mounts.detached("tmpfs", options, mounts.MOUNT_ATTR_RDONLY)
                # The first place gets the mount itself: before 6.15 only an attached mount can be cloned.
                filesystems.attach(empty, target)
            finally:
                os.close(target)
    finally:
        if empty >= 0:
            os.close(empty)


def make_readonly(root: int, paths: Iterable[str]) -> None:
    """Make each existing path of `paths` a read-only mount, with the other attributes of the mount it lies
    on.
    """
    for path in paths:
        target = _existing(root, path)
        if target < 0:
            continue
        try:
            tree = mounts.open_tree("", _CLONE | mounts.AT_RECURSIVE, dir_fd=target)
            try:
                mounts.mount_setattr(tree, "", set=mounts.MOUNT_ATTR_RDONLY, recursive=True)
                filesystems.attach(tree, target)
            finally:
                os.close(tree)
        finally:
            os.close(target)


def write_sysctls(root: int, values: Mapping[str, str]) -> None:
    """Set each kernel parameter (`net.ipv4.ip_forward`) of the namespaces that this process is in.

    The write goes through the procfs that was mounted below the directory `root`, where nothing lies over
    sys/ yet, or through one of our own: closing that waits for every processor (synchronize_rcu), which is
    why it comes second.
    """
    if not values:
        return
    proc = _writable_procfs(root)
    proc = mounts.detached("proc", []) if proc < 0 else proc
    try:
        for name, value in values.items():
            path = "sys/" + name.replace(".", "/")
            try:
                descriptor = openat2.openat2(proc, path, os.O_WRONLY, resolve=_WITHIN_ONE_MOUNT)
                try:
                    os.write(descriptor, value.encode())
                finally:
                    os.close(descriptor)
            except OSError as error:
                error.add_note(f"open sysctl {name}")
                raise
    finally:
        os.close(proc)


def _writable_procfs(root: int) -> int:
    """Return the directory /proc in `root` when it is a procfs that can be written and has its own sys/, else
    -1.
    """
    proc = _existing(root, "/proc")
    if proc < 0:
        return -1
    with contextlib.suppress(OSError):
        os.close(openat2.openat2(proc, "sys", os.O_PATH, resolve=_WITHIN_ONE_MOUNT))
        is_writable = not os.fstatvfs(proc).f_flag & os.ST_RDONLY
        if is_writable and mounts.file_system_type(proc) == mounts.PROC_SUPER_MAGIC:
            return proc
    os.close(proc)
    return -1


def _cover(target: int, source: int) -> None:
    tree = mounts.open_tree("", _CLONE, dir_fd=source)
    try:
        filesystems.attach(tree, target)
    finally:
        os.close(tree)


def _existing(root: int, path: str) -> int:
    """Return an O_PATH descriptor of `path` inside `root`, or -1 when it is not there; no symlink is
    followed.
    """
    try:
        resolve = openat2.RESOLVE_IN_ROOT | openat2.RESOLVE_NO_SYMLINKS
        return openat2.openat2(root, path, os.O_PATH, resolve=resolve)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return -1
        raise
