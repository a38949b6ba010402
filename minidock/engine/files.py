"""cp: look at, read and write paths of a container, as Docker's archive routes mean them.

A path is the container's: absolute or not, it begins at its root. Reading does not follow a link in the
last place, unless a slash comes after it; writing does, so that one can extract into a link to a directory.
Nothing of the image runs, and what the kernel makes up (/proc, /sys) is not part of a container's files.
Source: Docker Engine API v1.50, /containers/{id}/archive; moby daemon/archive.go, by behaviour.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock.engine import files_tree, times, users
from minidock.engine.containers import Container, find
from minidock.errors import Forbidden, InvalidParameter, NotFound
from minidock.formats import tarheader
from minidock.formats.digest import Readable
from minidock.formats.tarheader import Entry
from minidock.kernel import mounts, openat2
from minidock.storage.archive import extract_entries, split_name
from minidock.storage.packing import CONTAINER_FILES, pack
from minidock.storage.tarstream import TarReader

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

LINKS_MAX = 40
_GO_TYPES = (  # Go's FileMode has bits of its own for what is not a permission
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class PathStat(msgspec.Struct, kw_only=True):
    """What a client learns of a path; `mode` is Go's FileMode, `link_target` where a link ends in the
    container.
    """

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


class Manners(NamedTuple):
    """How to write: refuse to put a directory where a file is and the reverse; give all to the container's
    user.
    """

    keep_types: bool = False
    give_to_user: bool = False


PLAINLY = Manners()


class _Place(NamedTuple):
    """A path that is open: the directory it is in, its name there, its own O_PATH descriptor, its name for
    others.
    """

    parent: int
    base: str
    descriptor: int
    name: str


def stat_path(engine: Engine, reference: str, path: str) -> PathStat:
    """Return what `path` is; NotFound when there is nothing."""
    container = find(engine, reference)
    with files_tree.opened(engine, container) as root, _looked_up(root, path, reference) as place:
        return _described(root, path, place)


@contextmanager
def read(engine: Engine, reference: str, path: str) -> Iterator[tuple[PathStat, Iterator[bytes]]]:
    """Give what `path` is and the pieces of its tar."""
    container = find(engine, reference)
    with files_tree.opened(engine, container) as root, _looked_up(root, path, reference) as place:
        is_directory = stat.S_ISDIR(os.fstat(place.descriptor).st_mode)
        if is_directory:
            pieces = pack(place.descriptor, ".", place.name, CONTAINER_FILES)
        else:
            pieces = pack(place.parent, place.base, place.name, CONTAINER_FILES)
        yield _described(root, path, place), pieces
    engine.events.publish("container", "archive-path", container.id, container.attributes(path=path))


def write(engine: Engine, reference: str, path: str, tar: Readable, manners: Manners = PLAINLY) -> None:
    """Extract an uncompressed tar into the directory `path`.

    NotFound when it is not there, InvalidParameter when it is no directory or the tar is wrong, Forbidden
    when it is read-only for the container.
    """
    container = find(engine, reference)
    with files_tree.opened(engine, container, writable=True) as root:
        target = _open(root, path, reference, os.O_PATH)
        try:
            if not stat.S_ISDIR(os.fstat(target).st_mode):
                raise InvalidParameter("extraction point is not a directory")
            _refuse_unwritable(root, target, path, reference)
        finally:
            os.close(target)
        reader = _Relocated(tar, root, _clean(path), manners.keep_types, _owner(root, container, manners))
        extract_entries(reader, root)
    engine.events.publish("container", "extract-to-dir", container.id, container.attributes(path=path))


class _Relocated(TarReader):
    """A tar whose names begin at `directory` of the container instead of its root."""

    def __init__(
        self, source: Readable, root: int, directory: str, keep_types: bool, owner: tuple[int, int] | None
    ) -> None:
        super().__init__(source)
        self._root = root
        self._directory = directory
        self._keep_types = keep_types
        self._owner = owner

    def __iter__(self) -> Iterator[Entry]:
        for entry in super().__iter__():
            parts = split_name(entry.name)
            if not parts and entry.type == tarheader.DIRECTORY:
                continue  # the directory itself stays as it is
            entry.name = f"{self._directory}/{'/'.join(parts)}"
            if entry.type == tarheader.HARD_LINK:
                entry.link = f"{self._directory}/{'/'.join(split_name(entry.link))}"
            if self._owner is not None:
                entry.uid, entry.gid = self._owner
            if self._keep_types:
                self._check_type(entry)
            yield entry

    def _check_type(self, entry: Entry) -> None:
        try:
            there = openat2.open_in_root(self._root, entry.name, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            was_directory = stat.S_ISDIR(os.fstat(there).st_mode)
        finally:
            os.close(there)
        if was_directory != (entry.type == tarheader.DIRECTORY):
            old, new = ("directory", "non-directory") if was_directory else ("non-directory", "directory")
            raise InvalidParameter(
                f'cannot overwrite {old} "{entry.name}" with {new} "{self._directory or "/"}"'
            )


def _owner(root: int, container: Container, manners: Manners) -> tuple[int, int] | None:
    user = container.record.config.user
    if not (manners.give_to_user and user):
        return None
    identity = users.resolve(root, user, ())
    return identity.uid, identity.gid


@contextmanager
def _looked_up(root: int, path: str, reference: str) -> Iterator[_Place]:
    """Open a path to be read; a link in the last place is what is meant, unless a slash or a dot follows
    it.
    """
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    whole = _clean(path) or "/"
    ends_inside = path.endswith(("/", "/.")) or path == "." or whole == "/"
    directory, base = (whole, ".") if ends_inside else posixpath.split(whole)
    parent = _open(root, directory, reference, os.O_PATH | os.O_DIRECTORY, path)
    try:
        try:
            descriptor = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            raise _missing(path, reference) from None
        try:
            if mounts.file_system_type(descriptor) in CONTAINER_FILES.left_out:
                raise _missing(path, reference)
            is_dot = path.endswith("/.") or path == "."
            yield _Place(parent, base, descriptor, "." if is_dot else posixpath.basename(whole) or "/")
        finally:
            os.close(descriptor)
    finally:
        os.close(parent)


def _open(root: int, path: str, reference: str, flags: int, shown: str = "") -> int:
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    try:
        return openat2.open_in_root(root, _clean(path) or "/", flags)
    except FileNotFoundError:
        raise _missing(shown or path, reference) from None
    except OSError as error:
        raise InvalidParameter(f"{shown or path}: {os.strerror(error.errno or 0).lower()}") from error


def _refuse_unwritable(root: int, target: int, path: str, reference: str) -> None:
    if mounts.file_system_type(target) in CONTAINER_FILES.left_out:
        raise _missing(path, reference)
    if os.fstatvfs(target).f_flag & os.ST_RDONLY:
        is_root = os.fstat(root).st_dev == os.fstat(target).st_dev
        what = "container rootfs" if is_root else "mounted volume"
        raise Forbidden(f"{what} is marked read-only")


def _missing(path: str, reference: str) -> NotFound:
    return NotFound(f"Could not find the file {path} in container {reference}")


def _clean(path: str) -> str:
    """Return the absolute path without a trailing slash, "" for the root; `..` goes by the text, as in
    Docker.
    """
    return ("/" + posixpath.normpath(f"/{path}").lstrip("/")).rstrip("/")


def _described(root: int, path: str, place: _Place) -> PathStat:
    status = os.fstat(place.descriptor)
    is_link = stat.S_ISLNK(status.st_mode)
    return PathStat(
        name=place.name,
        size=status.st_size,
        mode=go_mode(status.st_mode),
        mtime=times.to_text(status.st_mtime_ns),
        link_target=_end_of_links(root, _clean(path)) if is_link else "",
    )


def go_mode(mode: int) -> int:
    """Return a mode in Go's notation, which is what the clients read."""
    bits = mode & 0o777
    for is_type, value in _GO_TYPES:
        if is_type(mode):
            bits |= value
    for flag, value in _GO_BITS:
        bits |= value if mode & flag else 0
    return bits


def _end_of_links(root: int, path: str) -> str:
    """Return the path in the container where a link ends; it need not exist. Only told, never opened."""
    pending = [part for part in path.split("/") if part]
    done: list[str] = []
    followed = 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        try:
            descriptor = openat2.open_in_root(root, "/".join(["", *done, part]), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            done.append(part)
            continue
        try:
            is_link = stat.S_ISLNK(os.fstat(descriptor).st_mode)
            target = os.readlink("", dir_fd=descriptor) if is_link else ""
        finally:
            os.close(descriptor)
        if not is_link:
            done.append(part)
            continue
        followed += 1
        if followed > LINKS_MAX:
            raise InvalidParameter(f"{path}: too many levels of symbolic links")
        done = [] if target.startswith("/") else done
        pending[:0] = [each for each in target.split("/") if each not in ("", ".")]
    return "/" + "/".join(done)
