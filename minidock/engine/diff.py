"""What a container has changed: its upperdir against the layers below, as `docker diff` lists it.

The upperdir has every name that was touched, but also what was only copied up and is still the same; so
each is compared with the tree below, which is mounted by itself for that. A directory that replaced another
(an opaque one) is compared name by name. Source: moby pkg/archive (ChangesDirs), by behaviour.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from minidock.engine.containers import find
from minidock.engine.views import Change
from minidock.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from minidock.storage.lowers import is_opaque, is_whiteout
from minidock.storage.names import OrderedNames, forget_many

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

MODIFIED, ADDED, DELETED = 0, 1, 2
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def changes(engine: Engine, reference: str) -> Generator[Change, None, None]:
    """Yield the changes in the order of their paths, a directory before what is in it."""
    container = find(engine, reference)
    with ExitStack() as opened:
        upper = os.open(os.path.join(container.directory, "rw", "diff"), _DIRECTORY)
        opened.callback(os.close, upper)
        below = engine.layers.overlay(container.record.layers, above=(engine.init_layer,))
        opened.callback(os.close, below)
        yield from compare(upper, below)


@dataclass
class _Frame:
    """One directory of the upperdir: whether it is new or hides what is below, whether it has been listed."""

    path: str
    is_new: bool = False
    replaces: bool = False
    is_listed: bool = False
    names: OrderedNames = field(default_factory=OrderedNames)

    def look(self, upper: int, below: int) -> None:
        """Read the next names; a directory that hides the layers below also has those that only they have."""
        descriptor = _open_directory(upper, self.path)
        if descriptor is None:
            self.names.end()
            return
        try:
            self.replaces = self.replaces or is_opaque(descriptor)
            hidden = _names(below, self.path) if self.replaces and not self.is_new else iter(())
            self.names.take(chain(_names(upper, self.path), hidden))
        finally:
            os.close(descriptor)


def compare(upper: int, below: int) -> Iterator[Change]:
    """Yield how the upperdir changes the tree `below` (both are directories, the second one mounted)."""
    stack = [_Frame("", is_listed=True)]
    while stack:
        frame = stack[-1]
        name = frame.names.pop()
        if name is None:
            if frame.names.has_more:
                forget_many([each.names for each in stack[:-1]])
                frame.look(upper, below)
            else:
                stack.pop()
            continue
        path = f"{frame.path}/{name}" if frame.path else name
        new = _status(upper, path)
        old = None if frame.is_new else _status(below, path)
        kind = _kind(upper, below, path, new, old)
        if kind is not None:
            yield from _unlisted(stack)
            yield Change(path=f"/{path}", kind=kind)
        if new is not None and stat.S_ISDIR(new.st_mode):
            stack.append(_Frame(path, old is None, frame.replaces, kind is not None))


def _unlisted(stack: Sequence[_Frame]) -> Iterator[Change]:
    """Yield the directories on the way down that no change was found in so far."""
    for frame in stack:
        if not frame.is_listed:
            frame.is_listed = True
            yield Change(path=f"/{frame.path}", kind=MODIFIED)


def _kind(
    upper: int, below: int, path: str, new: os.stat_result | None, old: os.stat_result | None
) -> int | None:
    """Return what has happened to a path; None if nothing."""
    if new is None or is_whiteout(new):
        return None if old is None else DELETED
    if old is None:
        return ADDED
    if stat.S_ISDIR(new.st_mode):
        return MODIFIED if _owner_and_mode(new) != _owner_and_mode(old) else None
    changed = _differ(new, old) or _capability(upper, path) != _capability(below, path)
    return MODIFIED if changed else None


def _names(top: int, path: str) -> Iterator[str]:
    descriptor = _open_directory(top, path)
    if descriptor is None:
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                yield entry.name
    finally:
        os.close(descriptor)


def _open_directory(top: int, path: str) -> int | None:
    try:
        return openat2(top, path or ".", _DIRECTORY, resolve=_BENEATH)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


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
