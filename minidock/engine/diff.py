"""What a container has changed: its upperdir against the layers below, as `docker diff` lists it.

The upperdir has every name that was touched, but also what was only copied up and is still the same; so
each is compared with the tree below, which is mounted by itself for that. A directory that replaced another
(an opaque one) is compared name by name. Source: moby pkg/archive (ChangesDirs), by behaviour.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minidock.engine.containers import find
from minidock.engine.views import Change
from minidock.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from minidock.storage.lowers import is_opaque, is_whiteout

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

MODIFIED, ADDED, DELETED = 0, 1, 2
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def changes(engine: Engine, reference: str) -> list[Change]:
    """Return the changes in the order of their paths, a directory before what is in it."""
    container = find(engine, reference)
    upper = os.open(os.path.join(container.directory, "rw", "diff"), _DIRECTORY)
    try:
        below = engine.layers.overlay(container.record.layers, above=(engine.init_layer,))
        try:
            return compare(upper, below)
        finally:
            os.close(below)
    finally:
        os.close(upper)


@dataclass
class _Frame:
    """One directory of the upperdir: whether it differs itself, and where its changes begin in the result."""

    path: str
    differs: bool
    start: int
    replaces: bool
    names: Iterator[str] = field(default_factory=lambda: iter(()))


def compare(upper: int, below: int) -> list[Change]:
    """Return how the upperdir changes the tree `below` (both are directories, the second one mounted)."""
    found: list[Change] = []
    stack = [_frame(upper, below, "", False, 0, False)]
    while stack:
        frame = stack[-1]
        name = next(frame.names, None)
        if name is None:
            stack.pop()
            if frame.path and (frame.differs or len(found) > frame.start):
                found.insert(frame.start, Change(path=f"/{frame.path}", kind=MODIFIED))
            continue
        path = f"{frame.path}/{name}" if frame.path else name
        new, old = _status(upper, path), _status(below, path)
        if new is None or is_whiteout(new):
            if old is not None:
                found.append(Change(path=f"/{path}", kind=DELETED))
        elif old is None:
            found.append(Change(path=f"/{path}", kind=ADDED))
            if stat.S_ISDIR(new.st_mode):
                found += _all_below(upper, path)
        elif stat.S_ISDIR(new.st_mode):
            differs = _owner_and_mode(new) != _owner_and_mode(old)
            stack.append(_frame(upper, below, path, differs, len(found), frame.replaces))
        elif _differ(new, old) or _capability(upper, path) != _capability(below, path):
            found.append(Change(path=f"/{path}", kind=MODIFIED))
    return found


def _frame(upper: int, below: int, path: str, differs: bool, start: int, replaces: bool) -> _Frame:
    """Look into a directory; one that hides the layers below also has the names that only those have."""
    frame = _Frame(path, differs, start, replaces)
    names: set[str] = set()
    try:
        descriptor = openat2(upper, path or ".", _DIRECTORY, resolve=_BENEATH)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return frame
    try:
        names.update(os.listdir(descriptor))
        frame.replaces = replaces or is_opaque(descriptor)
    finally:
        os.close(descriptor)
    if frame.replaces:
        names.update(_names(below, path))
    frame.names = iter(sorted(names))
    return frame


def _all_below(upper: int, path: str) -> Iterator[Change]:
    """Yield everything in a new directory."""
    pending = [path]
    while pending:
        here = pending.pop()
        if here != path:
            yield Change(path=f"/{here}", kind=ADDED)
        status = _status(upper, here)
        if status is not None and stat.S_ISDIR(status.st_mode):
            below = [f"{here}/{name}" for name in sorted(_names(upper, here), reverse=True)]
            pending += [each for each in below if not _is_gone(upper, each)]


def _is_gone(upper: int, path: str) -> bool:
    status = _status(upper, path)
    return status is None or is_whiteout(status)


def _names(top: int, path: str) -> list[str]:
    try:
        descriptor = openat2(top, path or ".", _DIRECTORY, resolve=_BENEATH)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _status(top: int, path: str) -> os.stat_result | None:
    descriptor = _open(top, path)
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _capability(top: int, path: str) -> bytes:
    descriptor = _open(top, path)
    if descriptor is None:
        return b""
    try:
        return os.getxattr(f"/proc/self/fd/{descriptor}", _CAPABILITY)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _open(top: int, path: str) -> int | None:
    try:
        return openat2(top, path, os.O_PATH | os.O_NOFOLLOW, resolve=_BENEATH)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


def _owner_and_mode(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _differ(new: os.stat_result, old: os.stat_result) -> bool:
    if _owner_and_mode(new) != _owner_and_mode(old) or new.st_rdev != old.st_rdev:
        return True
    return new.st_size != old.st_size or not _same_time(new.st_mtime_ns, old.st_mtime_ns)


def _same_time(one: int, other: int) -> bool:
    """Compare times of which one may have come through an archive of whole seconds."""
    exact = one % 10**9 and other % 10**9
    return one == other if exact else one // 10**9 == other // 10**9
