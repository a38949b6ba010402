"""Floors and bombs: what an archive may cost.

The full disk is a tmpfs of a few MiB in a child's own mount namespace.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.errors import InvalidParameter, MinidockError
from minidock.storage import limits
from minidock.storage.limits import BombGuard, CountingReader, free_room

FULL_DISK = """
import io, os, sys, tarfile
from minidock.errors import MinidockError
from minidock.kernel import mounts, namespaces
from minidock.paths import Paths
from minidock.storage.images import ImageStore
from minidock.storage.load import import_root

namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
mounts.mount("tmpfs", sys.argv[1], "tmpfs", 0, sys.argv[2])
store = ImageStore(Paths(sys.argv[1] + "/data", sys.argv[1] + "/run"))

def archive(count, size):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as made:
        for number in range(count):
            info = tarfile.TarInfo(f"f{number}")
            info.size = size
            made.addfile(info, io.BytesIO(bytes(size)))
    return io.BytesIO(sink.getvalue())

import_root(store, archive(10, 100), "small")
before = sorted(os.listdir(store.layers.root) + os.listdir(store.blobs.root + "/blobs/sha256"))
try:
    import_root(store, archive(int(sys.argv[3]), int(sys.argv[4])), "large")
except MinidockError as error:
    print(error)
state = os.statvfs(sys.argv[1])
print(sorted(os.listdir(store.layers.root) + os.listdir(store.blobs.root + "/blobs/sha256")) == before)
print([image.references for image in store.images()], state.f_bavail * 20 >= state.f_blocks)
"""


@pytest.mark.parametrize(
    ("options", "count", "size"),
    [("size=8m", 5, 1 << 20), ("size=8m", 1, 20 << 20), ("size=64m,nr_inodes=300", 400, 1)],
)
def test_a_disk_that_fills_up_gives_a_clear_error_and_keeps_what_it_had(
    tmp_path: Path, options: str, count: int, size: int
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), options, str(count), str(size)],
        capture_output=True,
        text=True,
        check=True,
    )
    message, clean, images = answer.stdout.splitlines()
    assert "No space left" in message or "no space left" in message
    assert (clean, images) == ("True", "[('small:latest',)] True")


def test_the_floor_is_asked_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    assert free_room(fd, "a test").size > 0
    monkeypatch.setattr(limits, "FREE_SIZE_MAX", 1 << 60)
    monkeypatch.setattr(limits, "FREE_FRACTION", 1)
    with pytest.raises(MinidockError, match="a test would not leave"):
        free_room(fd, "a test")
    os.close(fd)


def test_a_bomb_is_told_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOMB_FREE_SIZE", 1000)
    compressed = CountingReader(io.BytesIO(b"x" * 10))
    compressed.read(10)
    guard = BombGuard(io.BytesIO(bytes(10 * limits.BOMB_RATIO + 1)), compressed)
    assert len(guard.read(10 * limits.BOMB_RATIO)) == 10 * limits.BOMB_RATIO
    with pytest.raises(InvalidParameter, match="refused"):
        guard.read(1)


BOUNDED = """
import gzip, io, os, resource, sys, tarfile
from minidock.errors import MinidockError
from minidock.paths import Paths
from minidock.storage import limits
from minidock.storage.images import ImageStore
from minidock.storage.load import import_root

class Endless:
    "A gzip of a tar header and `count` chunks of zeros, made as it is read."
    def __init__(self, head, chunk, count):
        self.pieces = iter([head] + [chunk] * count)
        self.rest = b""
    def read(self, size):
        while not self.rest:
            self.rest = next(self.pieces, None)
            if self.rest is None:
                self.rest = b""
                return b""
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

limits.BOMB_FREE_SIZE = 256 << 20
store = ImageStore(Paths(sys.argv[1] + "/data", sys.argv[1] + "/run"))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
chunk = gzip.compress(bytes(64 << 20))
try:
    import_root(store, Endless(gzip.compress(bytes(1024)), chunk, 64), "bomb")  # 4 GiB of zeros in 4 MiB
    print("taken")
except MinidockError as error:
    print(error)
info = tarfile.TarInfo("d" * 90)
one = b"".join(tarfile.TarInfo(f"{number:05d}/" + "x" * 80).tobuf() for number in range(20000))
import_root(store, io.BytesIO(one), "many")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
print(grown < 60 << 10, len(os.listdir(store.blobs.root + "/blobs/sha256")))
"""


def test_memory_stays_bounded_whatever_comes_in(tmp_path: Path) -> None:
    """A gigantic tail of zeros after a tar's end is no attack (CVE-2017-14992), but 4 GiB from 4 MiB is."""
    answer = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    message, verdict = answer.stdout.splitlines()
    assert "ratio above" in message
    assert verdict == "True 3"
