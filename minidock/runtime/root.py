"""The container's root directory: a private mount tree, a new root in it, and the old root gone.

The order is forced by pivot_root(2): the new root must be a mount point, neither it nor its parent may be
shared, and the old root must still be reachable until the very end. Where pivot_root is impossible (the
host's root is an initramfs) chroot is what remains. mount_namespaces(7), pivot_root(2), chroot(2).
"""

import errno
import os

from minidock.kernel import mounts


def isolate_mounts() -> None:
    """Cut every mount of this namespace off from the host's: nothing mounted or unmounted here shows there.

    A mount namespace starts as a copy whose mounts still propagate where the host's are shared (on every
    systemd host). MS_SLAVE lets what the host mounts later arrive here, MS_PRIVATE does not; both are safe.
    """
    mounts.mount(None, "/", None, mounts.MS_SLAVE | mounts.MS_REC)


def attach_root(path: str, rootfs: int = -1) -> None:
    """Make `path` a mount point that holds the container's root.

    `rootfs` is a detached mount (its descriptor stays the caller's); without one, the directory itself is
    bound, with all that is mounted below it.
    """
    if rootfs >= 0:
        mounts.move_mount(rootfs, path)
    else:
        mounts.mount(path, path, None, mounts.MS_BIND | mounts.MS_REC)


def pivot(path: str) -> None:
    """Make the mount point `path` this namespace's root and drop the old root out of it.

    Afterwards the process stands in "/", nothing of the old root is mounted or open here, and the new root
    holds what it held. Nobody else's mounts change: after isolate_mounts no unmount leaves this namespace.
    With new and old root both ".", the old root ends up mounted over the new one, and needs no directory to
    be put in.
    """
    new_root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    old_root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(new_root)
        mounts.pivot_root(".", ".")
        os.fchdir(old_root)
        mounts.mount(None, ".", None, mounts.MS_SLAVE | mounts.MS_REC)  # for a caller that has not isolated
        mounts.umount(".", mounts.MNT_DETACH)
    finally:
        os.close(old_root)
        os.close(new_root)
    os.chdir("/")


def enter_chroot(path: str) -> None:
    """Make `path` this process's root directory; unlike `pivot`, root can climb out of it."""
    os.chroot(path)
    os.chdir("/")


def enter(path: str) -> None:
    """Enter the root at `path` by pivot_root, or by chroot on a host that runs from its initramfs."""
    try:
        pivot(path)
    except OSError as error:
        if error.errno != errno.EINVAL or not on_initramfs():
            raise
        enter_without_pivot(path)


def enter_without_pivot(path: str) -> None:
    """Enter the root at the mount point `path` by chroot: for an initramfs, and for chapter 2."""
    # The bare mounts of the host stay below the new root: cover them by moving it over "/" first.
    os.chdir(path)
    mounts.mount(path, "/", None, mounts.MS_MOVE)
    enter_chroot(".")


def on_initramfs() -> bool:
    """True when the root mount is the initial ramfs, which pivot_root(2) refuses to move."""
    return any(mount.target == "/" and mount.fstype == "rootfs" for mount in mounts.mountinfo())
