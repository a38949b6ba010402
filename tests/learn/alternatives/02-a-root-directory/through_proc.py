"""pathlib, the root by its link in /proc, and an escape by chroot alone, a thousand levels at once."""

import os
from pathlib import PurePosixPath

from minidock.errors import InvalidParameter


def split_name(name):
    stack = []
    for part in PurePosixPath(name).parts:
        if part.strip("/") == "":
            continue
        if part == "..":
            if not stack:
                raise InvalidParameter(f"{name!r} leads out of the archive")
            stack.pop()
        else:
            stack.append(part)
    return stack


def enter_chroot(path):
    with open(os.devnull) as _, os.scandir(path):
        pass
    directory = os.open(path, os.O_PATH)
    os.chdir(f"/proc/self/fd/{directory}")
    os.close(directory)
    os.chroot(os.curdir)


def escape():
    os.mkdir("/room")
    os.chdir("/")
    os.chroot("room")
    while True:
        os.chdir("/".join([".."] * 1000))
        here = os.stat(".")
        if os.path.samestat(here, os.stat("..")):
            break
    os.chroot(".")
    os.chdir("/")
