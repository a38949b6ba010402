"""A stack of layers seen as one tree, without mounting anything: what overlayfs does, in a page of Python.

A name belongs to the topmost layer that has it. A whiteout there means that it is gone; a directory shows
what all layers put into it, down to the first that is opaque or in which something else stands at its place.
Paths are looked up name by name and no symbolic link is followed, for a layer's links mean nothing to the
host. Linux Documentation/filesystems/overlayfs.rst, "Upper and Lower", "whiteouts and opaque directories".
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

from minidock.errors import NotFound
from minidock.storage.lowers import is_opaque, is_whiteout, read_xattrs
from minidock.storage.names import OrderedNames, forget_many

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """What the stack shows at `path` (relative, "" for the root): its status and the layer it comes from,
    counted from the topmost, which is 0."""

    path: str
    status: os.stat_result
    layer: int

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Union:
    """The unpacked trees of a stack, topmost first; used in a `with`. The trees must not change meanwhile."""

    def __init__(self, trees: Sequence[str]) -> None:
        self._opened = ExitStack()
        self._roots: list[int] = []
        try:
            for tree in trees:
                self._roots.append(os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                self._opened.callback(os.close, self._roots[-1])
        except BaseException:
            self._opened.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def walk(self) -> Iterator[Entry]:
        """Return the root and all that is below it, each directory before its content, names in order."""
        return self._walk()

    def find(self, path: str) -> Entry:
        """Return what is at the relative `path`; NotFound if nothing is."""
        with ExitStack() as opened:
            layers = dict(enumerate(self._roots))
            entry = self._root_entry()
            walked: list[str] = []
            for name in filter(None, path.split("/")):
                walked.append(name)
                shown = _look_up(layers, name) if entry.is_directory else None
                if shown is None:
                    raise NotFound(f"no such file in the layers: {path}")
                entry = Entry("/".join(walked), *shown)
                layers = _descend(layers, name, opened)
            return entry

    def open(self, entry: Entry) -> BinaryIO:
        """Open a regular file for reading."""
        return open(self._descriptor(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def link(self, entry: Entry) -> str:
        """Return where a symbolic link points."""
        fd = self._descriptor(entry, _PATH_ONLY)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """Return the extended attributes of what the stack shows, without overlayfs' own."""
        fd = self._descriptor(entry, _PATH_ONLY)
        try:
            return read_xattrs(fd)
        finally:
            os.close(fd)

    def _walk(self) -> Iterator[Entry]:
        """Go down with a stack of our own, for an image can nest directories deeper than Python's."""
        stack = [_Directory("", dict(enumerate(self._roots)))]
        try:
            yield self._root_entry()
            while stack:
                here = stack[-1]
                name = here.names.pop()
                if name is not None:
                    shown = _look_up(here.layers, name)
                    if shown is None:
                        continue
                    entry = Entry(f"{here.path}/{name}" if here.path else name, *shown)
                    yield entry
                    if entry.is_directory:
                        stack.append(below := _Directory(entry.path))
                        below.layers = _descend(here.layers, name, below.opened)
                elif here.names.has_more:
                    forget_many([each.names for each in stack[:-1]])
                    here.names.take(_names(here.layers))
                else:
                    stack.pop().opened.close()
        finally:
            for each in stack:
                each.opened.close()

    def _root_entry(self) -> Entry:
        return Entry("", os.fstat(self._roots[0]), 0)

    def _descriptor(self, entry: Entry, flags: int) -> int:
        """Open what `entry` says in its layer, one name at a time."""
        fd = os.open(".", _DIRECTORY, dir_fd=self._roots[entry.layer])
        names = entry.path.split("/") if entry.path else ["."]
        for name in names[:-1]:
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        try:
            return os.open(names[-1], flags, dir_fd=fd)
        finally:
            os.close(fd)


@dataclass
class _Directory:
    """One directory on the way down: its descriptors by layer number, topmost first, and what closes them."""

    path: str
    layers: dict[int, int] = field(default_factory=dict)
    opened: ExitStack = field(default_factory=ExitStack)
    names: OrderedNames = field(default_factory=OrderedNames)


def _names(layers: dict[int, int]) -> Iterator[str]:
    """Yield every name that any layer has in one directory."""
    for directory in layers.values():
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.name


def _look_up(layers: dict[int, int], name: str) -> tuple[os.stat_result, int] | None:
    """Return what one directory shows at a name, and the number of its layer; None: nothing."""
    for number, directory in layers.items():
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if is_whiteout(status) else (status, number)
    return None


def _descend(layers: dict[int, int], name: str, opened: ExitStack) -> dict[int, int]:
    """Return the descriptors of the directory `name`, of as many layers as shine through."""
    found: dict[int, int] = {}
    for number, directory in layers.items():
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError:  # a whiteout, a link or a file: it hides all below
            break
        opened.callback(os.close, fd)
        found[number] = fd
        if is_opaque(fd):
            break
    return found
