"""Each mount by itself; the root is bound once more before the pivot; the old root's tree is cut off too."""

import ctypes
import os

from minidock.kernel import mounts


def isolate_mounts():
    for mount in mounts.mountinfo():
        try:
            mounts.mount(None, mount.target, None, mounts.MS_PRIVATE)
        except OSError:
            pass  # another mount lies over it
    mounts.mount(None, "/", None, mounts.MS_PRIVATE | mounts.MS_REC)


def attach_root(path, rootfs=-1):
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if rootfs < 0:
            mounts.mount(
                f"/proc/self/fd/{place}", f"/proc/self/fd/{place}", None, mounts.MS_BIND | mounts.MS_REC
            )
        else:
            mounts.move_mount(
                rootfs, "", place, mounts.MOVE_MOUNT_F_EMPTY_PATH | mounts.MOVE_MOUNT_T_EMPTY_PATH
            )
    finally:
        os.close(place)


def pivot(path):
    if path not in [mount.target for mount in mounts.mountinfo()]:
        raise OSError(22, "not a mount point", path)
    mounts.mount(path, path, None, mounts.MS_BIND | mounts.MS_REC)
    os.chdir(path)
    here = os.fsencode(".")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(155 if os.uname().machine == "x86_64" else 41, here, here):
        raise OSError(ctypes.get_errno(), "pivot_root", path)
    mounts.mount(None, ".", None, mounts.MS_PRIVATE | mounts.MS_REC)
    mounts.umount(".", mounts.MNT_DETACH)
    os.chdir("/")
