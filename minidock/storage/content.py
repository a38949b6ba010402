"""The blob store: bytes by digest, in the form of an OCI image layout, kept exactly as they came.

A blob gets its name only after its size and digest have been checked, so whatever stands below `blobs/` is
what its name says (after a power cut too: blobs that no index names are swept when the store opens, before
anybody trusts them). OCI image-spec, image-layout.md.
"""

import os
import tempfile
from typing import BinaryIO, NamedTuple

from minidock.errors import Damaged, DigestMismatch, InvalidParameter, MinidockError, NotFound
from minidock.formats.digest import Digest, HashingReader, Readable, digest_of, encoded, is_digest
from minidock.formats.image import DOCUMENT_SIZE_MAX
from minidock.storage.limits import SpaceGuard
from minidock.storage.pins import Pin, Pins
from minidock.storage.writeback import sync_file_system

CHUNK = 1 << 20
LAYOUT = b'{\n  "imageLayoutVersion": "1.0.0"\n}\n'
TEMPORARY_PREFIX = ".tmp-"


class Blob(NamedTuple):
    """What the store knows of some bytes: their digest and size."""

    digest: Digest
    size: int


class BlobStore:
    """The blobs of one image layout at `root`; safe for many threads."""

    def __init__(self, root: str, pins: Pins) -> None:
        self.root = root
        self._pins = pins
        self._directory = os.path.join(root, "blobs", "sha256")
        os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def path(self, digest: Digest) -> str:
        """Return where a blob lies, or would."""
        return os.path.join(self._directory, encoded(digest))

    def has(self, digest: Digest, pin: Pin | None = None) -> bool:
        """Tell whether the blob is here; if so, `pin` holds it from now on."""
        with self._pins.lock:
            present = os.path.exists(self.path(digest))
            if present and pin is not None:
                pin.add(digest)
            return present

    def size(self, digest: Digest) -> int:
        """Return a blob's size; NotFound if it is not here."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise NotFound(f"blob {digest} not found") from None

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading, unbuffered; NotFound if it is not here."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"blob {digest} not found") from None

    def read(self, digest: Digest) -> bytes:
        """Return a small blob (a document) whole, verified again; Damaged if the disk changed it."""
        with self.open(digest) as file:
            data = file.read(DOCUMENT_SIZE_MAX + 1)
        if len(data) > DOCUMENT_SIZE_MAX:
            raise InvalidParameter(f"{digest} is too large to be a manifest or a config")
        if digest_of(data) != digest:
            raise Damaged(f"{self.path(digest)} is damaged: its content has another digest")
        return data

    def add(self, data: bytes, pin: Pin) -> Blob:
        """Store bytes of our own making; anew where the disk has damaged them."""
        digest = digest_of(data)
        if not (self.has(digest, pin) and self._content(digest) == data):
            temporary = self._temporary()
            with os.fdopen(temporary[0], "wb") as file:
                file.write(data)
            self._adopt(temporary[1], digest, pin)
        return Blob(digest, len(data))

    def _content(self, digest: Digest) -> bytes:
        with self.open(digest) as file:
            return file.read()

    def ingest(
        self, source: Readable, pin: Pin, digest: Digest | None = None, size: int | None = None
    ) -> Blob:
        """Read `source` to its end into a blob, held by `pin`.

        Raises DigestMismatch, and stores nothing, if the bytes are not of the announced size and digest
        (size first: a longer stream is cut off as soon as it is too long).
        """
        reader = HashingReader(source)
        descriptor, path = self._temporary()
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                self._copy(reader, file, size)
            if size is not None and reader.size != size:
                raise DigestMismatch(
                    f"unexpected size of {digest or 'blob'}: {reader.size} bytes, expected {size}"
                )
            if digest is not None and reader.digest != digest:
                raise DigestMismatch(f"unexpected digest {reader.digest}, expected {digest}")
        except BaseException:
            os.unlink(path)
            raise
        self._adopt(path, reader.digest, pin)
        return Blob(reader.digest, reader.size)

    def digests(self) -> list[Digest]:
        """Return the digests of all blobs."""
        names = (f"sha256:{name}" for name in os.listdir(self._directory))
        return [name for name in names if is_digest(name)]

    def delete(self, digest: Digest) -> int:
        """Delete a blob if it is here and nobody holds it; return the bytes freed."""
        with self._pins.lock:
            if self._pins.is_held(digest):
                return 0
            try:
                size = os.stat(self.path(digest)).st_size
                os.unlink(self.path(digest))
            except FileNotFoundError:
                return 0
            return size

    def sync(self) -> None:
        """Make all blobs durable at once."""
        sync_file_system(self._directory)

    def tidy(self) -> None:
        """Remove what an interrupted ingest left; only when nobody else uses the store."""
        for name in os.listdir(self._directory):
            if name.startswith(TEMPORARY_PREFIX):
                os.unlink(os.path.join(self._directory, name))

    def _copy(self, reader: HashingReader, file: BinaryIO, limit: int | None) -> None:
        guard = SpaceGuard(file.fileno(), "storing the image")
        while data := reader.read(CHUNK):
            if limit is not None and reader.size > limit:
                raise DigestMismatch(f"unexpected size: more than the expected {limit} bytes")
            guard.spend(len(data))
            view = memoryview(data)
            try:
                while view:
                    view = view[file.write(view) :]
            except OSError as error:
                raise MinidockError(f"cannot store the image: {error.strerror}") from error

    def _temporary(self) -> tuple[int, str]:
        return tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=self._directory)

    def _adopt(self, path: str, digest: Digest, pin: Pin) -> None:
        with self._pins.lock:
            if not self.has(digest):
                pin.bring(digest)
            os.rename(path, self.path(digest))
            pin.add(digest)
