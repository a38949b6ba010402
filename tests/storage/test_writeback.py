"""Durable before it is recorded, and mostly before it is waited for."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.storage import writeback
from minidock.storage.images import ImageStore
from minidock.storage.load import import_root
from minidock.storage.writeback import written_behind

Tar = Callable[..., bytes]
Make = Callable[..., tuple[object, bytes]]


class Disk:
    """Stands where syncfs(2) does; `failing` is what it raises from then on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.syncing = threading.Event()
        self.failing: OSError | None = None

    def __call__(self, name: str, descriptor: int) -> int:
        assert name == "syncfs"
        self.calls.append((threading.current_thread().name, descriptor))
        self.syncing.set()
        if self.failing is not None:
            raise self.failing
        return 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(writeback, "syscall", made)
    return made


def test_the_disk_writes_while_the_work_goes_on_and_once_at_its_end(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writeback, "INTERVAL", 0.001)
    with written_behind(str(tmp_path)):
        assert disk.syncing.wait(10)
        assert {name for name, _ in disk.calls} == {"writeback"}
    name, last = disk.calls[-1]
    assert name == threading.current_thread().name
    assert last not in {descriptor for _, descriptor in disk.calls[:-1]}
    assert "writeback" not in {thread.name for thread in threading.enumerate()}


def test_short_work_is_synced_once(disk: Disk, tmp_path: Path) -> None:
    with written_behind(str(tmp_path)):
        pass
    assert len(disk.calls) == 1


def test_a_failed_write_fails_the_work(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "INTERVAL", 0.001)
    disk.failing = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"), written_behind(str(tmp_path)):
        assert disk.syncing.wait(10)


def test_work_that_failed_waits_for_no_disk(disk: Disk, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), written_behind(str(tmp_path)):
        raise ZeroDivisionError
    assert disk.calls == []


def test_nothing_is_recorded_that_the_disk_has_refused(
    disk: Disk, store: ImageStore, tar: Tar, member: Make
) -> None:
    disk.failing = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        import_root(store, io.BytesIO(tar([member("file", b"data")])), "broken")
    assert store.images() == []
    assert store.blobs.digests() == []
    assert store.layers.layers() == []
