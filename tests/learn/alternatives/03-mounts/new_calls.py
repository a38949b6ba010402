"""The newer system calls, and every mount by itself."""

import os

from minidock.kernel import mounts


def isolate_mounts():
    mounts.mount_setattr(mounts.AT_FDCWD, "/", propagation=mounts.MS_PRIVATE, recursive=True)


def attach_root(path, rootfs=-1):
    tree = rootfs if rootfs >= 0 else mounts.open_tree(path, mounts.OPEN_TREE_CLONE | mounts.AT_RECURSIVE)
    try:
        mounts.move_mount(tree, path)
    finally:
        if rootfs < 0:
            os.close(tree)


def pivot(path):
    old = os.open("/", os.O_PATH)
    os.chdir(path)
    mounts.pivot_root(".", ".")
    os.fchdir(old)
    os.close(old)
    mounts.umount(".", mounts.MNT_DETACH)
    os.chdir("/")
