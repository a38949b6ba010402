"""Blobs: checked before they have a name, kept as they came, swept when nobody needs them."""

import io
import os
import threading

import pytest

from minidock.errors import Damaged, DigestMismatch, InvalidParameter, MinidockError, NotFound
from minidock.formats.digest import digest_of
from minidock.formats.image import DOCUMENT_SIZE_MAX
from minidock.paths import Paths
from minidock.storage import limits
from minidock.storage.content import BlobStore
from minidock.storage.pins import Pins

DATA = b"some bytes" * 1000


@pytest.fixture
def pins() -> Pins:
    return Pins()


@pytest.fixture
def blobs(paths: Paths, pins: Pins) -> BlobStore:
    return BlobStore(paths.images, pins)


def files(blobs: BlobStore) -> list[str]:
    return os.listdir(os.path.join(blobs.root, "blobs", "sha256"))


def test_a_blob_lies_under_its_digest_as_it_came(blobs: BlobStore, pins: Pins) -> None:
    with pins.hold() as pin:
        blob = blobs.ingest(io.BytesIO(DATA), pin, digest_of(DATA), len(DATA))
    assert blob == (digest_of(DATA), len(DATA))
    with open(os.path.join(blobs.root, "blobs", "sha256", digest_of(DATA)[7:]), "rb") as file:
        assert file.read() == DATA
    assert blobs.read(blob.digest) == DATA
    assert blobs.size(blob.digest) == len(DATA)
    assert blobs.digests() == [blob.digest]


@pytest.mark.parametrize(
    ("digest", "size"),
    [(digest_of(b"other"), None), (None, len(DATA) - 1), (None, len(DATA) + 1), (digest_of(DATA), 0)],
)
def test_nothing_is_recorded_on_a_mismatch(
    blobs: BlobStore, pins: Pins, digest: str | None, size: int | None
) -> None:
    with pins.hold() as pin, pytest.raises(DigestMismatch, match="unexpected"):
        blobs.ingest(io.BytesIO(DATA), pin, digest, size)
    assert files(blobs) == []


def test_nothing_is_recorded_when_the_source_breaks(blobs: BlobStore, pins: Pins) -> None:
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise ConnectionResetError

    with pins.hold() as pin, pytest.raises(ConnectionResetError):
        blobs.ingest(Broken(), pin)
    assert files(blobs) == []


def test_a_stream_that_is_too_long_is_cut_off_at_once(blobs: BlobStore, pins: Pins) -> None:
    class Endless:
        count = 0

        def read(self, size: int, /) -> bytes:
            self.count += size
            assert self.count < 100 << 20
            return bytes(size)

    with pins.hold() as pin, pytest.raises(DigestMismatch, match="more than"):
        blobs.ingest(Endless(), pin, size=10)


def test_a_disk_that_would_fill_up_is_left_alone(
    blobs: BlobStore, pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FREE_SIZE_MAX", 1 << 60)
    monkeypatch.setattr(limits, "FREE_FRACTION", 1)
    with pins.hold() as pin, pytest.raises(MinidockError, match="no space left on device"):
        blobs.ingest(io.BytesIO(DATA), pin)
    assert files(blobs) == []


def test_a_blob_that_the_disk_changed_is_not_believed(blobs: BlobStore, pins: Pins) -> None:
    with pins.hold() as pin:
        digest = blobs.add(DATA, pin).digest
    with open(blobs.path(digest), "r+b") as file:
        file.write(b"X")
    with pytest.raises(Damaged, match="another digest"):
        blobs.read(digest)


def test_a_large_blob_is_no_document(blobs: BlobStore, pins: Pins) -> None:
    with pins.hold() as pin:
        digest = blobs.add(bytes(DOCUMENT_SIZE_MAX + 1), pin).digest
    with pytest.raises(InvalidParameter, match="too large"):
        blobs.read(digest)


def test_a_blob_that_work_holds_is_not_deleted(blobs: BlobStore, pins: Pins) -> None:
    with pins.hold() as pin:
        digest = blobs.add(DATA, pin).digest
        with pins.hold() as other:
            assert blobs.has(digest, other)
            assert blobs.delete(digest) == 0
        assert blobs.delete(digest) == 0
    assert blobs.delete(digest) == len(DATA)
    assert blobs.delete(digest) == 0
    assert not blobs.has(digest)
    for ask in (blobs.open, blobs.read, blobs.size):
        with pytest.raises(NotFound):
            ask(digest)


def test_many_threads_may_bring_the_same_blob(blobs: BlobStore, pins: Pins) -> None:
    failures: list[BaseException] = []

    def bring() -> None:
        try:
            for _ in range(20):
                with pins.hold() as pin:
                    digest = blobs.ingest(io.BytesIO(DATA), pin, digest_of(DATA)).digest
                    assert blobs.read(digest) == DATA
                blobs.delete(digest)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=bring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not pins.held


def test_what_an_interrupted_ingest_left_is_tidied(blobs: BlobStore) -> None:
    with open(os.path.join(blobs.root, "blobs", "sha256", ".tmp-left"), "wb") as file:
        file.write(DATA)
    blobs.tidy()
    assert files(blobs) == []
