"""Unpack a tar below a directory, whatever is in it: nothing outside the directory can be touched.

The rule that makes it safe: every name is a single component in a directory descriptor, made with O_EXCL or
O_NOFOLLOW, and every such descriptor came out of openat2(RESOLVE_IN_ROOT), where absolute links and `..` end
inside the root. No path of an archive is ever joined to one of ours. The rule that makes it fast: the
descriptor of a directory is kept while its files arrive; whenever a directory or a link is *removed*, all
kept ones are dropped, for they might no longer be what their path means.

aufs' own files (`.wh..wh.plnk/`, `.wh..wh.aufs`), which layers of 2014 have at the top, are there while
unpacking, because hard links point to them, and gone afterwards. Links inside the root work (`var/run ->
/run` as a parent, absolute hard links), entries may lack their parents, a later entry replaces an earlier
one. openat2(2), symlink(7), chown(2) (it clears setuid bits and capabilities: so mode and xattrs come after
it).
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from minidock.errors import InvalidParameter, MinidockError
from minidock.formats import tarheader
from minidock.formats.digest import Readable
from minidock.formats.tarheader import Entry
from minidock.formats.whiteout import (
    META_PREFIX,
    OPAQUE,
    OVERLAY_DEVICE,
    OVERLAY_OPAQUE_VALUE,
    OVERLAY_OPAQUE_XATTR,
    PREFIX,
    parse_whiteout,
)
from minidock.kernel.openat2 import make_directories_in_root, open_in_root
from minidock.storage.files import dress, dress_by_path, write, write_sparse
from minidock.storage.limits import SpaceGuard
from minidock.storage.lowers import LowerLayers, is_whiteout
from minidock.storage.tarstream import TarReader
from minidock.storage.trees import remove_tree

KEPT_DIRECTORIES = 64
TIMES_SIZE = 1 << 20  # what the times of directories take in memory before they go to a file below TMPDIR
HOUSEKEEPING_MAX = 64
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OUR_FAULT = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


@dataclass(frozen=True)
class Unpacked:
    """What came out: `size` is the bytes of all files and link targets, as `docker images` counts them."""

    size: int
    entries: int


def extract(source: Readable, root_fd: int, lowers: LowerLayers | None = None) -> Unpacked:
    """Unpack the uncompressed tar `source` below the directory `root_fd`, and read `source` to its end.

    With `lowers` the tar is a layer: whiteouts become overlayfs', acting on the layers below only. Without,
    `.wh.` is an ordinary name. Raises InvalidParameter for what is wrong with the archive, MinidockError for
    what is wrong here; the directory is then half full.
    """
    return extract_entries(TarReader(source), root_fd, lowers)


def extract_entries(reader: TarReader, root_fd: int, lowers: LowerLayers | None = None) -> Unpacked:
    """Do as `extract` with a reader, which may change or leave out entries."""
    extraction = _Extraction(root_fd, lowers)
    try:
        return extraction.run(reader)
    finally:
        extraction.close()


def split_name(name: str) -> list[str]:
    """Return the components of an archive's name, `.` and `..` resolved by their text.

    A name begins at the archive's root, with a leading `/` or without; InvalidParameter if it leads out.
    """
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts:
        inside: list[str] = []
        for part in parts:
            if part != "..":
                inside.append(part)
            elif inside:
                inside.pop()
            else:
                raise InvalidParameter(f"invalid tar entry: {name!r} is outside of the archive's root")
        return inside
    return parts


class _Extraction:
    """One archive on its way to the disk: the kept directories and the directory times that wait for the
    end."""

    def __init__(self, root_fd: int, lowers: LowerLayers | None) -> None:
        self._root = root_fd
        self._lowers = lowers
        self._kept: dict[str, int] = {}
        self._times = tempfile.SpooledTemporaryFile(TIMES_SIZE)  # noqa: SIM115 - closed in `close`
        self._housekeeping: set[str] = set()
        self._guard = SpaceGuard(root_fd, "unpacking the archive")
        self._makers: dict[str, Callable[[Entry, int, str], None]] = {
            tarheader.SYMLINK: self._symlink,
            tarheader.HARD_LINK: self._hard_link,
            tarheader.CHARACTER: self._node,
            tarheader.BLOCK_DEVICE: self._node,
            tarheader.FIFO: self._node,
        }

    def run(self, reader: TarReader) -> Unpacked:
        size = entries = 0
        for entry in reader:
            self._guard.spend(0)
            try:
                self._unpack(entry, reader)
            except OSError as error:
                kind = MinidockError if error.errno in _OUR_FAULT else InvalidParameter
                raise kind(f"cannot unpack {entry.name!r}: {error.strerror or error}") from error
            size += _size(entry)
            entries += 1
        for name in self._housekeeping:
            self._vacate("", name)
        self._set_times()
        return Unpacked(size, entries)

    def close(self) -> None:
        """Let go of all that is open."""
        self._forget()
        self._times.close()

    def _forget(self) -> None:
        for fd in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def _unpack(self, entry: Entry, reader: TarReader) -> None:
        parts = split_name(entry.name)
        if not parts:
            if entry.type != tarheader.DIRECTORY:
                raise InvalidParameter(f"invalid tar entry: {entry.name!r} would replace the root directory")
            self._finish_directory(entry, "", os.open(".", _DIRECTORY, dir_fd=self._root))
            return
        top, name = parts[0], parts.pop()
        parent = "/".join(parts)
        if self._lowers is not None and PREFIX in entry.name:
            if top.startswith(META_PREFIX) and top != OPAQUE:
                self._housekeeping.add(top)
                if len(self._housekeeping) > HOUSEKEEPING_MAX:
                    raise InvalidParameter(
                        f"invalid whiteout: more than {HOUSEKEEPING_MAX} of aufs' own names"
                    )
            elif self._whiteout(entry, parent, name):
                return
        for attempt in ("new", "replacing"):
            try:
                self._make(entry, parent, name, reader)
            except FileExistsError:
                if attempt == "replacing":
                    raise
                self._vacate(parent, name)
            else:
                return

    def _make(self, entry: Entry, parent: str, name: str, reader: TarReader) -> None:
        directory = self._open_parent(parent)
        if entry.type == tarheader.REGULAR:
            self._regular(entry, directory, name, reader)
        elif entry.type == tarheader.DIRECTORY:
            self._directory(entry, directory, parent, name)
        else:
            self._makers[entry.type](entry, directory, name)

    def _regular(self, entry: Entry, directory: int, name: str, reader: TarReader) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
        try:
            if entry.sparse is None:
                for piece in reader.data():
                    self._guard.spend(len(piece))
                    write(fd, piece)
            else:
                self._guard.spend(entry.size)
                write_sparse(fd, entry, reader)
            dress(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _directory(self, entry: Entry, directory: int, parent: str, name: str) -> None:
        """Make a directory, or take over the one that is there; where this layer hid the name, it becomes
        an opaque one."""
        opaque = False
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            opaque = self._lowers is not None and is_whiteout(status)
            if opaque:
                os.unlink(name, dir_fd=directory)
                os.mkdir(name, 0o700, dir_fd=directory)
            elif not stat.S_ISDIR(status.st_mode):
                raise
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        self._finish_directory(entry, f"{parent}/{name}" if parent else name, fd)
        if opaque:
            os.setxattr(fd, OVERLAY_OPAQUE_XATTR, OVERLAY_OPAQUE_VALUE)

    def _finish_directory(self, entry: Entry, path: str, fd: int) -> None:
        """Dress a directory and keep its descriptor, which is now ours; its time is set last, when
        nothing is made in it any more."""
        self._keep(path, fd)
        dress(fd, entry)
        name = os.fsencode(path)
        self._times.write(b"%d %d\n%s" % (entry.mtime_ns, len(name), name))

    def _symlink(self, entry: Entry, directory: int, name: str) -> None:
        os.symlink(entry.link, name, dir_fd=directory)
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.xattrs:
            dress_by_path(directory, name, entry)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _hard_link(self, entry: Entry, directory: int, name: str) -> None:
        target = split_name(entry.link)
        if not target:
            raise InvalidParameter(f"invalid tar entry: {entry.name!r} is a hard link to {entry.link!r}")
        target_name = target.pop()
        target_directory = self._open_existing("/".join(target))
        status = os.stat(target_name, dir_fd=target_directory, follow_symlinks=False)
        if self._lowers is not None and is_whiteout(status):
            raise FileNotFoundError(errno.ENOENT, f"hard link to {entry.link!r}: no such file")
        try:
            os.link(
                target_name, name, src_dir_fd=target_directory, dst_dir_fd=directory, follow_symlinks=False
            )
        except FileExistsError:
            if not os.path.samestat(status, os.stat(name, dir_fd=directory, follow_symlinks=False)):
                raise

    def _node(self, entry: Entry, directory: int, name: str) -> None:
        kinds = {
            tarheader.CHARACTER: stat.S_IFCHR,
            tarheader.BLOCK_DEVICE: stat.S_IFBLK,
            tarheader.FIFO: stat.S_IFIFO,
        }
        if entry.type == tarheader.CHARACTER and (entry.major, entry.minor) == OVERLAY_DEVICE:
            raise InvalidParameter(
                f"invalid tar entry: {entry.name!r} is a character device 0:0, overlayfs' whiteout"
            )
        os.mknod(name, kinds[entry.type] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=directory)
        dress_by_path(directory, name, entry)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _whiteout(self, entry: Entry, parent: str, name: str) -> bool:
        """Apply a whiteout entry; False if this is none."""
        assert self._lowers is not None
        if parent.startswith(PREFIX) or "/" + PREFIX in parent:
            raise InvalidParameter(
                f"invalid whiteout: {entry.name!r} lies in a directory with a whiteout's name"
            )
        whiteout = parse_whiteout(name)
        if whiteout is None:
            return False
        if entry.type not in (tarheader.REGULAR, tarheader.HARD_LINK):
            raise InvalidParameter(f"invalid whiteout: {entry.name!r} is not a file")
        hidden = f"{parent}/{whiteout.hides}" if parent else whiteout.hides
        if whiteout.is_opaque:
            self._make_opaque(parent)
        elif self._lowers.find(hidden) is not None and self._is_below(parent, whiteout.hides):
            try:
                os.mknod(
                    whiteout.hides,
                    stat.S_IFCHR,
                    os.makedev(*OVERLAY_DEVICE),
                    dir_fd=self._open_parent(parent),
                )
            except (
                FileExistsError
            ):  # this layer's own file stays; a directory must not let the lower one shine through
                status = os.stat(whiteout.hides, dir_fd=self._open_parent(parent), follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self._make_opaque(hidden)
        return True

    def _is_below(self, parent: str, name: str) -> bool:
        """Tell whether the layers below have `name` where `parent` really is: a link of this layer's own may
        lead there."""
        assert self._lowers is not None
        top, place = (os.readlink(f"/proc/self/fd/{fd}") for fd in (self._root, self._open_parent(parent)))
        path = os.path.relpath(os.path.join(place, name), top)
        return path == os.path.join(parent, name) or self._lowers.find(path) is not None

    def _make_opaque(self, path: str) -> None:
        fd = os.open(".", _DIRECTORY, dir_fd=self._open_parent(path))
        try:
            os.setxattr(fd, OVERLAY_OPAQUE_XATTR, OVERLAY_OPAQUE_VALUE)
        finally:
            os.close(fd)

    def _vacate(self, parent: str, name: str) -> None:
        """Remove what stands in the way of a later entry."""
        remove_tree(name, dir_fd=self._open_parent(parent))
        self._forget()

    def _open_parent(self, path: str) -> int:
        """Return a descriptor of directory `path`, which is made if it is missing; it stays ours, and
        good until two more are asked for."""
        fd = self._kept.pop(path, None)
        if fd is not None:
            self._kept[path] = fd  # the most recently used are last, and safe
            return fd
        try:
            fd = open_in_root(self._root, path or ".", os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            fd = self._make_parents(path.split("/"))
        return self._keep(path, fd)

    def _open_existing(self, path: str) -> int:
        fd = self._kept.pop(path, None)
        return self._keep(
            path, open_in_root(self._root, path or ".", os.O_PATH | os.O_DIRECTORY) if fd is None else fd
        )

    def _keep(self, path: str, fd: int) -> int:
        previous = self._kept.pop(path, None)
        if previous is not None:
            os.close(previous)
        if len(self._kept) >= KEPT_DIRECTORIES:
            os.close(self._kept.pop(next(iter(self._kept))))
        self._kept[path] = fd
        return fd

    def _make_parents(self, parts: list[str]) -> int:
        """Make the missing directories of a path that the archive has no entries for, as the layers below
        have them."""
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            try:
                self._keep(path, open_in_root(self._root, path, os.O_PATH | os.O_DIRECTORY))
            except (FileNotFoundError, NotADirectoryError):
                self._make_parent("/".join(parts[: depth - 1]), parts[depth - 1], path)
        return open_in_root(self._root, "/".join(parts), os.O_PATH | os.O_DIRECTORY)

    def _make_parent(self, parent: str, name: str, path: str) -> None:
        directory = self._open_parent(parent)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISLNK(status.st_mode):  # it dangles: its target is made, inside the root
                self._keep(path, make_directories_in_root(self._root, path))
                return
            if self._lowers is None or not is_whiteout(status):
                raise NotADirectoryError(errno.ENOTDIR, f"its parent {path!r} is not a directory")
        entry = Entry(path, tarheader.DIRECTORY, 0o755)
        below = self._lowers.find(path) if self._lowers is not None else None
        if below is not None and stat.S_ISDIR(below.status.st_mode):
            entry.mode = stat.S_IMODE(below.status.st_mode)
            entry.uid, entry.gid = below.status.st_uid, below.status.st_gid
            entry.mtime_ns, entry.xattrs = below.status.st_mtime_ns, below.xattrs
        self._directory(entry, directory, parent, name)

    def _set_times(self) -> None:
        """Set the times of directories; later entries of the same directory come later and win."""
        self._forget()
        self._times.seek(0)
        while line := self._times.readline():
            mtime_ns, length = map(int, line.split())
            parent, _, name = os.fsdecode(self._times.read(length)).rpartition("/")
            try:
                directory = self._open_existing(parent)
                os.utime(name or ".", ns=(mtime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                pass  # a later entry replaced it


def _size(entry: Entry) -> int:
    if entry.type == tarheader.SYMLINK:
        return len(os.fsencode(entry.link))
    return entry.real_size if entry.type == tarheader.REGULAR else 0
