"""Write a directory tree as a tar, while somebody hostile may be changing it.

The other half of `archive`: what `cp`, `export`, `commit` and a new volume's first content are made of. A
name is looked up as one component of a directory that is already open, never followed, and only a regular
file is ever opened for reading: a pipe would block us, and opening a device can do things. Entries come in
the order of their names, so that the same tree is always the same tar. Sockets are left out: a tar cannot
hold them. openat2(2), proc_pid_fd(5); OCI image-spec, layer.md.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from minidock.errors import InvalidParameter
from minidock.formats import tarheader
from minidock.formats.tarheader import BLOCK, Entry, encode_entry, padding
from minidock.formats.whiteout import OPAQUE, format_whiteout
from minidock.kernel.mounts import PROC_SUPER_MAGIC, file_system_type
from minidock.kernel.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from minidock.storage.firstnames import FirstNames
from minidock.storage.lowers import is_opaque, is_whiteout, read_xattrs
from minidock.storage.names import OrderedNames, forget_many

CHUNK = 1 << 20
OPEN_DIRECTORIES = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_GONE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
)  # removed, or replaced by a file or a link, since we saw it
_SPECIAL = {
    stat.S_IFCHR: tarheader.CHARACTER,
    stat.S_IFBLK: tarheader.BLOCK_DEVICE,
    stat.S_IFIFO: tarheader.FIFO,
}


@dataclass(frozen=True)
class Manner:
    """How to write. `is_layer`: the tree is an upperdir, and its whiteouts become `.wh.` files.
    `exact_times` keeps nanoseconds; Docker's archives have whole seconds, and each exact time costs a
    kilobyte. Directories on file systems of the types `left_out` (statfs(2)) are written empty.
    """

    is_layer: bool = False
    exact_times: bool = False
    left_out: frozenset[int] = frozenset()


# What the kernel makes up for a running container is none of its files: proc, sysfs, cgroup, cgroup2,
# devpts, mqueue.
CONTAINER_FILES = Manner(
    left_out=frozenset({PROC_SUPER_MAGIC, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202})
)


def pack(directory: int, name: str, renamed: str, manner: Manner = Manner()) -> Iterator[bytes]:
    """Yield the tar of the file or tree `name` in `directory`, under the name `renamed`.

    `name` is one component, or "." for the directory itself; with `renamed` "" only what is in it is written.
    What vanishes meanwhile is left out; FileNotFoundError when `name` itself is not there.
    """
    packing = _Packing(manner)
    top = os.open(name, _PATH_ONLY, dir_fd=directory)
    try:
        if stat.S_ISDIR(os.fstat(top).st_mode):
            yield from packing.tree(top, renamed)
        else:
            yield from packing.member(top, renamed, os.fstat(top))
    finally:
        packing.close()
        os.close(top)
    yield bytes(2 * BLOCK)


class ChunkReader:
    """Lets the pieces of a generator be read like a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


@dataclass
class _Frame:
    """One directory on the way down: its path below the top, its name in the tar, what is left to do."""

    path: str
    renamed: str
    descriptor: int
    names: OrderedNames = field(default_factory=OrderedNames)

    def look(self) -> None:
        """Read the next names."""
        with os.scandir(self.descriptor) as entries:
            self.names.take(entry.name for entry in entries)


class _Packing:
    """One tar being written: the directories that are open, and the first name of every file with several."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._frames: list[_Frame] = []
        self._first_names = FirstNames()

    def close(self) -> None:
        """Close what is open."""
        self._first_names.close()
        for frame in self._frames:
            if frame.descriptor >= 0:
                os.close(frame.descriptor)
        self._frames.clear()

    def tree(self, top: int, renamed: str) -> Iterator[bytes]:
        """Write the directory `top` with all it contains."""
        yield from self._enter(os.open(".", _DIRECTORY, dir_fd=top), "", renamed)
        while self._frames:
            frame = self._frames[-1]
            name = frame.names.pop()
            if name is None and not frame.names.has_more:
                self._frames.pop()
                if frame.descriptor >= 0:
                    os.close(frame.descriptor)
                continue
            try:
                if frame.descriptor < 0:
                    frame.descriptor = openat2(top, frame.path, _DIRECTORY, resolve=_BENEATH)
                if name is not None:
                    yield from self._visit(frame, name)
                else:
                    frame.look()
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                if name is None:
                    frame.names.end()

    def member(self, descriptor: int, renamed: str, status: os.stat_result) -> Iterator[bytes]:
        """Write what is no directory; `descriptor` is an O_PATH one."""
        entry = self._entry(descriptor, renamed, status)
        kind = stat.S_IFMT(status.st_mode)
        first = self._first_names.first(status, renamed) if status.st_nlink > 1 else renamed
        if first != renamed:
            entry.type, entry.link, entry.xattrs = tarheader.HARD_LINK, first, {}
            yield encode_entry(entry)
        elif kind == stat.S_IFREG:
            entry.size = status.st_size
            source = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield encode_entry(entry)
                yield from _content(source, status.st_size)
            finally:
                os.close(source)
        elif kind == stat.S_IFLNK:
            entry.type, entry.mode = tarheader.SYMLINK, 0o777
            entry.link = os.readlink("", dir_fd=descriptor)
            yield encode_entry(entry)
        elif kind in _SPECIAL:
            entry.type = _SPECIAL[kind]
            entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            yield encode_entry(entry)

    def _visit(self, frame: _Frame, name: str) -> Iterator[bytes]:
        renamed = f"{frame.renamed.rstrip('/')}/{name}" if frame.renamed else name
        if len(renamed) >= tarheader.PATH_LENGTH_MAX:
            raise InvalidParameter(
                f"cannot archive a path of more than {tarheader.PATH_LENGTH_MAX} bytes: {name!r}"
            )
        descriptor = os.open(name, _PATH_ONLY, dir_fd=frame.descriptor)
        try:
            status = os.fstat(descriptor)
            if self._manner.is_layer and is_whiteout(status):
                hidden = renamed[: len(renamed) - len(name)] + format_whiteout(name)
                yield encode_entry(Entry(hidden, mode=0o600))
            elif stat.S_ISDIR(status.st_mode):
                path = f"{frame.path}/{name}" if frame.path else name
                yield from self._enter(os.open(".", _DIRECTORY, dir_fd=descriptor), path, renamed)
            else:
                if self._manner.is_layer:
                    format_whiteout(name)  # refuses a file that would read as a whiteout
                yield from self.member(descriptor, renamed, status)
        finally:
            os.close(descriptor)

    def _enter(self, descriptor: int, path: str, renamed: str) -> Iterator[bytes]:
        """Write a directory's own entry and put it on top of the stack; `descriptor` is now ours."""
        frame = _Frame(path, renamed, descriptor)
        self._frames.append(frame)
        if len(self._frames) > OPEN_DIRECTORIES:  # opened again, by its path, when its turn comes back
            shallow = self._frames[-OPEN_DIRECTORIES - 1]
            if shallow.descriptor >= 0:
                os.close(shallow.descriptor)
                shallow.descriptor = -1
        if not self._manner.left_out or file_system_type(descriptor) not in self._manner.left_out:
            frame.look()
        else:
            frame.names.end()
        forget_many([each.names for each in self._frames[:-1]])
        if renamed:
            entry = self._entry(descriptor, renamed, os.fstat(descriptor))
            entry.type, entry.name = tarheader.DIRECTORY, f"{renamed.rstrip('/')}/"
            yield encode_entry(entry)
        if self._manner.is_layer and is_opaque(descriptor) and renamed:
            yield encode_entry(Entry(f"{renamed}/{OPAQUE}", mode=0o600))

    def _entry(self, descriptor: int, renamed: str, status: os.stat_result) -> Entry:
        time_ns = status.st_mtime_ns
        return Entry(
            renamed,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=time_ns if self._manner.exact_times else time_ns // 10**9 * 10**9,
            xattrs=read_xattrs(descriptor),
        )


def _content(source: int, size: int) -> Iterator[bytes]:
    """Yield exactly `size` bytes and the padding: the header has promised them, even if the file shrinks."""
    left = size
    while left and (data := os.read(source, min(left, CHUNK))):
        left -= len(data)
        yield data
    while left:
        yield bytes(min(left, CHUNK))
        left -= min(left, CHUNK)
    yield bytes(padding(size))
