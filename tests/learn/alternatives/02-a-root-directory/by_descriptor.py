"""A counter of depth, a root by its descriptor, an escape that climbs by descriptors."""

import os

from minidock.errors import InvalidParameter


def split_name(name):
    result, depth = [], 0
    for part in name.split("/"):
        if part in ("", "."):
            continue
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise InvalidParameter(f"{name} leads out")
        if part == "..":
            del result[-1]
        else:
            result.append(part)
    return result


def enter_chroot(path):
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chroot(path)
        os.fchdir(root)
    finally:
        os.close(root)


def escape():
    inside = os.open("/", os.O_RDONLY)
    os.mkdir("/jail")
    os.chroot("/jail")
    os.fchdir(inside)
    while True:
        above = os.open("..", os.O_PATH, dir_fd=inside)
        if os.path.sameopenfile(above, inside):
            break
        os.close(inside)
        inside = above
    os.fchdir(above)
    os.chroot(".")
