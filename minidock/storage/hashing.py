"""Hash a stream while something else is done with it: a second processor does the arithmetic.

Every byte of an image is hashed twice, once as it comes (its digest) and once as it is unpacked (its DiffID).
hashlib releases the GIL for a large piece, so a thread can hash the last piece while its reader writes it to
the disk and waits for the next one. There is never more than one piece on its way: memory stays bounded.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256

from minidock.formats.digest import ALGORITHM, Digest, Readable

BESIDE_SIZE = 64 << 10  # handing over less costs more than hashing it


class HashingReader:
    """Passes a stream through and knows, at any moment, the digest and the size of what has been read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = sha256()
        self._thread: ThreadPoolExecutor | None = None  # it ends with its executor, and that with us
        self._last: Future[None] | None = None
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        data = self._source.read(size)
        self.size += len(data)
        self._wait()
        if len(data) < BESIDE_SIZE:
            self._hash.update(data)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, "hash")
            self._last = self._thread.submit(self._hash.update, data)
        return data

    @property
    def digest(self) -> Digest:
        """The digest of the bytes read so far."""
        self._wait()
        return f"{ALGORITHM}:{self._hash.hexdigest()}"

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
            self._last = None
