"""The tars of `cp`, packed and unpacked here.

What comes out of a container may have been made by somebody hostile: so it is unpacked one name at a time,
below a directory that is already open, and no link is ever followed on the way. What goes in is packed by a
thread while it is sent. openat(2) with O_NOFOLLOW.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
import threading
from collections.abc import Iterator
from typing import IO, Any

from minidock.cli.failure import Failure

BLOCK_SIZE = 1 << 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Blocks:
    """A response's body as a file; `size` counts what came."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = block
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        self.size += len(data)
        return data


def unpack(source: Blocks, directory: str, old: str, new: str) -> None:
    """Unpack a tar into `directory`; a top name `old` becomes `new` when `new` is not "".

    A directory is never replaced by something else, nor the reverse. Owners stay those of the caller.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    times: list[tuple[list[str], float]] = []
    try:
        with tarfile.open(fileobj=_file(source), mode="r|") as archive:
            for member in archive:
                parts = _parts(member.name, old, new)
                if parts:
                    link = _parts(member.linkname, old, new) if member.islnk() else []
                    if member.issym():
                        _refuse_far_link(directory, parts, member.linkname)
                    _unpack_one(archive, member, top, parts, link)
                    if member.isdir():
                        times.append((parts, member.mtime))
        for parts, mtime in reversed(times):  # last: nothing is made in them any more
            with _opened(top, parts[:-1]) as parent:
                os.utime(parts[-1], (mtime, mtime), dir_fd=parent, follow_symlinks=False)
    except tarfile.TarError as error:
        raise Failure(f"cannot read the archive: {error}") from None
    finally:
        os.close(top)


def _file(source: Blocks) -> IO[bytes]:
    stream: Any = source  # tarfile's stream mode needs nothing but read()
    return stream  # type: ignore[no-any-return]


def _parts(name: str, old: str, new: str) -> list[str]:
    """Return the components of a member's name, renamed; Failure for one that leads out."""
    if new and old != "/":
        name = name.replace(old, new, 1)
    elif new:
        name = f"{new}/{name.lstrip('/')}"
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failure(f'"{name}" is outside of the destination')
    return parts


def _refuse_far_link(directory: str, parts: list[str], target: str) -> None:
    """Refuse a link out of `directory`. It is never followed here, but whoever looks at it next may."""
    ends = posixpath.normpath("/".join([*parts[:-1], target.lstrip("/")]))
    if ends.split("/")[0] == "..":
        raise Failure(f'invalid symlink "{os.path.join(directory, *parts)}" -> "{target}"')


def _unpack_one(
    archive: tarfile.TarFile, member: tarfile.TarInfo, top: int, parts: list[str], link: list[str]
) -> None:
    *directories, name = parts
    with _opened(top, directories) as parent:
        _make_room(member, parent, name)
        if member.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            return
        elif member.islnk():
            with _opened(top, link[:-1]) as source:
                os.link(link[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            return
        elif member.isreg():
            _write(archive, member, parent, name)
            return
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            kind = 0o020000 if member.ischr() else 0o060000
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        os.chmod(name, member.mode & 0o7777, dir_fd=parent)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    content = archive.extractfile(member)
    assert content is not None
    with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=parent), "wb") as file:
        while block := content.read(BLOCK_SIZE):
            file.write(block)
        file.flush()
        os.fchmod(file.fileno(), member.mode & 0o7777)
        os.utime(file.fileno(), (member.mtime, member.mtime))


def _make_room(member: tarfile.TarInfo, parent: int, name: str) -> None:
    """Remove what is in the way; refuse to put a directory where a file is, and the reverse."""
    try:
        is_directory = (os.lstat(name, dir_fd=parent).st_mode & 0o170000) == 0o040000
    except FileNotFoundError:
        return
    if is_directory and not member.isdir():
        raise Failure(f'cannot overwrite directory "{name}" with non-directory "{member.name}"')
    if member.isdir() and not is_directory:
        raise Failure(f'cannot overwrite non-directory "{name}" with directory "{member.name}"')
    if not is_directory:
        os.unlink(name, dir_fd=parent)


@contextlib.contextmanager
def _opened(top: int, directories: list[str]) -> Iterator[int]:
    """Open a directory below `top`, made where it is missing, without following a link."""
    descriptor = os.dup(top)
    try:
        for name in directories:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=descriptor)
            child = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = child
        yield descriptor
    finally:
        os.close(descriptor)


class Body:
    """What a packing thread writes, as the body of a request; `size` counts it."""

    def __init__(self, reader: int) -> None:
        self._file = os.fdopen(reader, "rb", buffering=0)
        self.size = 0
        self.problem: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        data = self._file.read(size)
        self.size += len(data)
        return data

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def packed(path: str, renamed: str) -> Iterator[Any]:
    """Give a tar of `path`, whose top name shall be `renamed`, as a body to send."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    body = Body(reader)
    thread = threading.Thread(target=_pack, args=(path, renamed, writer, body), daemon=True)
    thread.start()
    try:
        yield body
    finally:
        body.close()
        thread.join()
    if body.problem is not None:
        raise Failure(str(body.problem))


def _pack(path: str, renamed: str, writer: int, body: Body) -> None:
    try:
        with (
            os.fdopen(writer, "wb") as file,
            tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(os.path.realpath(path) if path.endswith("/") else path, renamed)
    except BrokenPipeError:
        pass  # the engine wanted no more of it
    except OSError as error:
        body.problem = error
