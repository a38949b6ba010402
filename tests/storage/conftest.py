"""Stores in temporary directories, tars made by Python's tarfile, a root to unpack into beside a canary."""

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Paths
from minidock.storage.archive import Unpacked, extract
from minidock.storage.images import ImageStore
from minidock.storage.lowers import LowerLayers

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "data"), str(tmp_path / "run"))


@pytest.fixture
def store(paths: Paths) -> ImageStore:
    return ImageStore(paths)


@pytest.fixture(scope="session")
def member() -> Callable[..., Member]:
    """Make one member of a tar: a name, its data, and any field of TarInfo."""

    def make(name: str, data: bytes = b"", **fields: object) -> Member:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, {"kind": "type", "link": "linkname"}.get(key, key), value)
        return info, data

    return make


@pytest.fixture(scope="session")
def tar() -> Callable[..., bytes]:
    """Make a tar of members, in PAX format unless another is asked for."""

    def make(members: Iterable[Member], **options: object) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", **{"format": tarfile.PAX_FORMAT, **options}) as archive:  # type: ignore[call-overload]
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        return sink.getvalue()

    return make


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory to unpack into; a canary lies beside it and must be untouched in the end."""
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o750)
    (canary / "victim").write_bytes(b"untouched")
    (canary / "victim").chmod(0o400)
    target = tmp_path / "root"
    target.mkdir()

    def look() -> list[tuple[object, ...]]:
        found = []
        for path in (tmp_path, canary, canary / "victim"):
            status = os.lstat(path)
            names = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()
            times = status.st_mtime_ns if path != tmp_path else 0
            found.append((names, status.st_mode, status.st_uid, status.st_ino, status.st_nlink, times))
        return found

    before = look()
    yield target
    assert look() == before


@pytest.fixture
def unpack(root: Path) -> Callable[..., Unpacked]:
    """Unpack a tar below `root`; `lowers` (paths, topmost first) make it a layer."""

    def run(data: bytes, lowers: Iterable[Path] | None = None) -> Unpacked:
        opened = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (root, *(lowers or []))]
        try:
            below = None if lowers is None else LowerLayers(opened[1:])
            return extract(io.BytesIO(data), opened[0], below)
        finally:
            for fd in opened:
                os.close(fd)

    return run
