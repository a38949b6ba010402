"""Who `-u USER[:GROUP]` is, by the image's own /etc/passwd and /etc/group.

The files belong to the image, so they may be links to the host's, devices, pipes or gigabytes: they are
opened inside the image's root by openat2, must be regular, and are read up to a limit. A number is a number
and never looked up as a name. passwd(5), group(5); CVE-2022-36109 (the primary group is one of the
supplementary groups), CVE-2024-40635.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minidock.errors import StartFailed
from minidock.kernel import openat2

MAXIMUM_FILE = 10 * 1024 * 1024
MAXIMUM_ID = 2**31 - 1


@dataclass(frozen=True)
class Identity:
    """The ids a program runs with; `home` is what HOME becomes unless the user sets it."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True)
class _Entry:
    name: str
    uid: int
    gid: int
    home: str


def resolve(root: int, user: str, group_add: Sequence[str] = ()) -> Identity:
    """Return the identity that `user` ("", "1000", "www:data", ...) means in the image whose root is open at
    `root`.

    StartFailed in Docker's words when a name is not there or a number is out of range.
    """
    user_name, separator, group_name = user.partition(":")
    user_name = user_name or "0"
    entry = _find_user(root, user_name)
    groups = list(_groups(root)) if entry.name or group_name or group_add else []
    gid, memberships = (
        entry.gid,
        [number for _, number, members in groups if entry.name and entry.name in members],
    )
    if separator and group_name:
        gid, memberships = _find_group(groups, group_name), []
    added = [_find_group(groups, name) for name in group_add]
    ids = dict.fromkeys([gid, *memberships, *added])
    return Identity(entry.uid, gid, tuple(ids), entry.home)


def _find_user(root: int, name: str) -> _Entry:
    number = _number(name)
    for fields in _lines(root, "/etc/passwd", 7):
        uid, gid = _valid(fields[2]), _valid(fields[3])
        if uid is None or gid is None:
            continue
        if uid == number if number is not None else fields[0] == name:
            return _Entry(fields[0], uid, gid, fields[5] or "/")
    if number is None:
        raise StartFailed(f"unable to find user {name}: no matching entries in passwd file")
    return _Entry("", number, 0, "/")


def _find_group(groups: Sequence[tuple[str, int, list[str]]], name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for group, gid, _ in groups:
        if group == name:
            return gid
    raise StartFailed(f"unable to find group {name}: no matching entries in group file")


def _groups(root: int) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _lines(root, "/etc/group", 4):
        gid = _valid(fields[2])
        if gid is not None:
            yield fields[0], gid, fields[3].split(",")


def _valid(text: str) -> int | None:
    """Return the id in a line of the file; None for anything else: a bad line is as good as absent."""
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAXIMUM_ID:
        return int(text)
    return None


def _number(text: str) -> int | None:
    """Return the id that `text` spells, None when it is a name; StartFailed outside of what the kernel takes
    safely.
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    if len(text) > 10 or int(text) > MAXIMUM_ID:
        raise StartFailed("uids and gids must be in range 0-2147483647")
    return int(text)


def _lines(root: int, path: str, fields: int) -> Iterator[list[str]]:
    for line in _read(root, path).decode(errors="replace").split("\n"):
        parts = line.strip().split(":")
        if len(parts) >= fields and not line.startswith("#"):
            yield parts


def _read(root: int, path: str) -> bytes:
    """Return the file's bytes, none when it is not there.

    It is looked at through O_PATH before it is opened: opening a pipe waits, opening a device does something.
    """
    try:
        found = openat2.open_in_root(root, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise StartFailed(f"open {path} of the image: {os.strerror(error.errno or 0).lower()}") from error
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise StartFailed(f"{path} of the image is not a regular file")
        with open(f"/proc/self/fd/{found}", "rb") as file:
            data = file.read(MAXIMUM_FILE + 1)
    finally:
        os.close(found)
    if len(data) > MAXIMUM_FILE:
        raise StartFailed(f"{path} of the image is larger than {MAXIMUM_FILE} bytes")
    return data
