"""The layers and mounts of a running container, from its mountinfo and from the layers' directories.

Only names are looked at, without following a link: the files are the image's and the container's.
Documentation/filesystems/overlayfs.rst, proc_pid_mountinfo(5).
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from minidock.explain.seen import cut, printable
from minidock.kernel import mounts
from minidock.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from minidock.storage.lowers import is_opaque, is_whiteout

MOST_FILES = 20_000  # of one layer that are counted
MOST_CHANGES = 12  # that are named
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Removed meanwhile, replaced by a file or a link, or deeper than a path can say.
_OUT_OF_REACH = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass
class Content:
    """What is in one layer; `whiteouts` are the paths that it hides, `replaced` its opaque directories."""

    files: int = 0
    is_all: bool = True
    names: list[str] = field(default_factory=list)
    whiteouts: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One name in a layer; `has_more` is a directory that is not empty."""

    path: str
    is_whiteout: bool = False
    is_opaque: bool = False
    has_more: bool = False


def root_lines(pid: int, driver: Mapping[str, str]) -> list[str]:
    """Draw the overlay that is the process's root, the uppermost layer first; `driver` as in inspect."""
    root = next((one for one in reversed(mounts.mountinfo(pid)) if one.target == "/"), None)
    if root is None or root.fstype != "overlay":
        return [f"no overlay, but {'nothing' if root is None else root.fstype}"]
    options = [option.partition("=") for option in root.super_options]
    values = {name: value for name, _, value in options}
    upper = values.get("upperdir", "")
    lines = [cut(f"{'/':12} mount {root.id}: what the program sees, all layers at once")]
    if upper:
        there = content(_absolute(upper, driver))
        lines.append(
            f"upperdir  rw {counted(there)}, all that this container has written: {printable(upper)}"
        )
        lines += _changes(there)
    for path in lower_directories(root.super_options, driver):
        there = content(path)
        hidden = f", {len(there.whiteouts)} whiteouts" if there.whiteouts else ""
        below = os.path.relpath(path, os.path.dirname(_layers(driver)))
        lines.append(cut(f"lowerdir  ro {counted(there)}{hidden}: {printable(below)}"))
    return lines


def lower_directories(options: tuple[str, ...], driver: Mapping[str, str]) -> list[str]:
    """Return the lower layers' directories, the uppermost first, their short links followed."""
    found: list[str] = []
    for option in options:
        name, _, value = option.partition("=")
        if name == "lowerdir+":
            found.append(value)
        elif name == "lowerdir":
            found += value.split(":")
    return [os.path.realpath(_absolute(path, driver)) for path in found]


def _layers(driver: Mapping[str, str]) -> str:
    """Return the directory of all layers; kernels without `lowerdir+` name layers relative to it."""
    first = driver.get("LowerDir", "").partition(":")[0]
    return os.path.dirname(os.path.dirname(first)) or "/"


def _absolute(path: str, driver: Mapping[str, str]) -> str:
    return os.path.join(_layers(driver), path)


def content(directory: str) -> Content:
    """Look at one layer; of a large one only the beginning."""
    found = Content()
    for entry in _entries(directory):
        if found.files + len(found.whiteouts) >= MOST_FILES:
            found.is_all = False
            break
        if entry.is_whiteout:
            found.whiteouts.append(entry.path)
            continue
        found.files += 1
        if entry.is_opaque:
            found.replaced.append(entry.path)
        if not entry.has_more and len(found.names) < MOST_CHANGES:
            found.names.append(entry.path)
    return found


def _entries(directory: str) -> Iterator[Entry]:
    """Yield what is below, a directory before what is in it; the container may be changing it meanwhile.

    No recursion, since it can nest directories deeper than Python's stack, and of a great directory the first
    names only.
    """
    top = os.open(directory, _DIRECTORY)
    try:
        pending = ["."]
        while pending:
            yield from _inside(top, pending.pop(), pending)
    finally:
        os.close(top)


def _inside(top: int, inside: str, pending: list[str]) -> Iterator[Entry]:
    """Yield a directory and what it has beside directories; those go to `pending`, the first one last."""
    try:
        descriptor = openat2(top, inside, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno not in _OUT_OF_REACH:
            raise
        return
    try:
        with os.scandir(descriptor) as found:
            names = sorted(entry.name for entry in islice(found, MOST_FILES + 1))
        if inside != ".":
            yield Entry(f"/{inside}", False, is_opaque(descriptor), bool(names))
        directories = []
        for name in names:
            path = name if inside == "." else f"{inside}/{name}"
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    directories.append(path)
                else:
                    yield Entry(f"/{path}", is_whiteout(status))
        pending += reversed(directories)
    finally:
        os.close(descriptor)


def counted(there: Content) -> str:
    """Say how many files and directories a layer has."""
    return f"{there.files:5} names" if there.is_all else f"more than {MOST_FILES} names"


def _changes(there: Content) -> list[str]:
    """Return the first changes of the read-write layer, with what overlayfs makes of them."""
    lines = [cut(f"{'':12} hides {printable(name)}: a character device 0:0") for name in there.whiteouts]
    lines += [cut(f"{'':12} hides all of {printable(name)} below: opaque") for name in there.replaced]
    lines += [cut(f"{'':12} has {printable(name)}") for name in there.names]
    left = len(lines) - MOST_CHANGES
    return lines if left <= 0 else [*lines[:MOST_CHANGES], f"{'':12} and {left} more"]


def mount_lines(pid: int) -> list[str]:
    """Return the other mounts that the process sees; those that only protect /proc and /sys are counted."""
    lines, protecting = [], 0
    for one in mounts.mountinfo(pid):
        if one.target.startswith(("/proc/", "/sys/")):
            protecting += 1
        elif one.target != "/":
            origin = f"{one.root} of {one.source}" if one.root != "/" else one.fstype
            mode = "ro" if "ro" in one.options else "rw"
            lines.append(f"{printable(one.target):22} {mode} {printable(origin)}")
    if protecting:
        lines.append(f"and {protecting} below /proc and /sys, each covers or protects a part of it")
    return lines
