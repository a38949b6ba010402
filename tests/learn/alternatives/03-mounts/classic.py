"""The old way: a directory for the old root; and an error in words of its own."""

import os

from minidock.kernel import mounts


def isolate_mounts():
    mounts.mount("none", "/", None, mounts.MS_REC | mounts.MS_PRIVATE)


def attach_root(path, rootfs=-1):
    if rootfs != -1:
        mounts.move_mount(rootfs, path)
        return
    mounts.mount(path, path, "bind", mounts.MS_BIND | mounts.MS_REC)


def pivot(path):
    os.makedirs(os.path.join(path, ".old"))
    try:
        mounts.pivot_root(path, os.path.join(path, ".old"))
    except OSError as error:
        raise OSError(f"{path} cannot become the root: {error}") from error
    os.chdir("/")
    mounts.umount("/.old", mounts.MNT_DETACH)
    os.rmdir("/.old")
