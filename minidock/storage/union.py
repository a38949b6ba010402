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
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from minidock.errors import NotFound
from minidock.storage.lowers import is_opaque, is_whiteout, read_xattrs

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
        return self._walk("", dict(enumerate(self._roots)))

    def find(self, path: str) -> Entry:
        """Return what is at the relative `path`; NotFound if nothing is."""
        with ExitStack() as opened:
            layers = dict(enumerate(self._roots))
            entry = self._root_entry()
            walked: list[str] = []
            for name in filter(None, path.split("/")):
                walked.append(name)
                if not entry.is_directory or name not in (found := _names(layers)):
                    raise NotFound(f"no such file in the layers: {path}")
                entry = Entry("/".join(walked), *found[name])
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

    def _walk(self, path: str, layers: dict[int, int]) -> Iterator[Entry]:
        if not path:
            yield self._root_entry()
        for name, (status, layer) in sorted(_names(layers).items()):
            entry = Entry(f"{path}/{name}" if path else name, status, layer)
            yield entry
            if entry.is_directory:
                with ExitStack() as inner:
                    yield from self._walk(entry.path, _descend(layers, name, inner))

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


def _names(layers: dict[int, int]) -> dict[str, tuple[os.stat_result, int]]:
    """Return what one directory shows: `layers` are its descriptors by layer number, topmost first."""
    shown: dict[str, tuple[os.stat_result, int]] = {}
    hidden: set[str] = set()
    for number, directory in layers.items():
        for name in os.listdir(directory):
            if name in shown or name in hidden:
                continue
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if is_whiteout(status):
                hidden.add(name)
            else:
                shown[name] = (status, number)
    return shown


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
