"""The short form of pivot_root(2)'s manual page."""

import os

from minidock.kernel import mounts


def isolate_mounts():
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_SLAVE)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)


def attach_root(path, rootfs=-1):
    if rootfs < 0:
        tree = mounts.open_tree(path, mounts.OPEN_TREE_CLONE | mounts.AT_RECURSIVE)
        mounts.move_mount(tree, path)
        os.close(tree)
    else:
        mounts.move_mount(rootfs, path)


def pivot(path):
    os.chdir(path)
    mounts.pivot_root(".", ".")
    mounts.umount(".", mounts.MNT_DETACH)
    os.chdir("/")
