"""Compressed streams: found out by their first bytes, never by a name or a media type.

Layers are gzip or zstd; `docker import` also takes bzip2 and xz. All of it is decompressed in this process:
an `xz` from PATH (or from a container, CVE-2026-41567) is never run. igzip inflates several times faster
than zlib. Magic numbers: RFC 1952, RFC 8878, and the file formats of bzip2 and xz.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Protocol, cast

from isal import igzip_lib, isal_zlib

from minidock.errors import InvalidParameter
from minidock.formats.digest import Readable
from minidock.storage.limits import BombGuard, CountingReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP, ZSTD, BZIP2, XZ, PLAIN = "gzip", "zstd", "bzip2", "xz", ""
MAGIC = ((b"\x1f\x8b\x08", GZIP), (b"\x28\xb5\x2f\xfd", ZSTD), (b"BZh", BZIP2), (b"\xfd7zXZ\x00", XZ))
MAGIC_LENGTH = 6
CHUNK = 256 << 10
OUTPUT_CHUNK = 1 << 20
MEMORY_LIMIT = (
    64 << 20
)  # what a frame may ask us to allocate as its window; zstd -19 uses 8 MiB, xz -9 64 MiB
GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ISAL_ERROR = cast(type[Exception], igzip_lib.IsalError)  # its stub calls the class an instance


class Decompressor(Protocol):
    """What zlib's, bz2's, lzma's and zstd's decompressors have in common once `Inflating` has hidden
    their spelling."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Prefixed:
    """A stream whose first bytes have been looked at and are given out again."""

    def __init__(self, source: Readable, length: int) -> None:
        self._source = source
        prefix = b""
        while len(prefix) < length and (data := source.read(length - len(prefix))):
            prefix += data
        self.prefix = self._rest = prefix

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        return self._source.read(size)


def detect(prefix: bytes) -> str:
    """Name the compression of a stream that begins with `prefix`; PLAIN for any other."""
    return next((name for magic, name in MAGIC if prefix.startswith(magic)), PLAIN)


def decompressed(source: Readable) -> tuple[Readable, str]:
    """Return a stream of the uncompressed bytes and the compression found; bombs are refused while they
    unpack."""
    prefixed = Prefixed(source, MAGIC_LENGTH)
    compression = detect(prefixed.prefix)
    if compression == PLAIN:
        return prefixed, PLAIN
    compressed = CountingReader(prefixed)
    return BombGuard(Inflating(compressed, compression), compressed), compression


class Inflating:
    """The uncompressed bytes of a stream of one or more members (gzip, xz) or frames (zstd)."""

    def __init__(self, source: Readable, compression: str) -> None:
        self._source = source
        self._compression = compression
        self._decompressor: Decompressor | None = None
        self._pending = b""
        self._magic = next(magic for magic, name in MAGIC if name == compression)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end. InvalidParameter if the stream is damaged or cut off."""
        while True:
            if self._decompressor is None:
                self._decompressor = self._begin_member()
                if self._decompressor is None:
                    return b""
            data = self._step(self._decompressor, size)
            if self._decompressor.eof:
                self._pending = self._decompressor.unused_data
                self._decompressor = None
            if data:
                return data

    def _step(self, decompressor: Decompressor, size: int) -> bytes:
        try:
            data = decompressor.decompress(self._pending, min(size, OUTPUT_CHUNK))
        except (_ISAL_ERROR, zstd.ZstdError, lzma.LZMAError, OSError, EOFError) as error:
            raise InvalidParameter(f"damaged {self._compression} stream: {error}") from None
        self._pending = b""
        if not data and not decompressor.eof:
            self._pending = self._source.read(CHUNK)
            if not self._pending:
                raise InvalidParameter(f"damaged {self._compression} stream: it ends too early")
        return data

    def _begin_member(self) -> Decompressor | None:
        """Start the next member; None at the end, or at padding, which ends a stream as it does for
        gzip(1)."""
        while len(self._pending) < len(self._magic) and (data := self._source.read(CHUNK)):
            self._pending += data
        first = self._pending[: len(self._magic)]
        is_frame = first == self._magic or (self._compression == ZSTD and first[1:] == b"\x2a\x4d\x18")
        if not is_frame:
            if self._pending.strip(b"\0"):
                raise InvalidParameter(f"trailing garbage after a {self._compression} stream")
            while self._source.read(CHUNK):
                pass
            return None
        return _decompressors()[self._compression]()


class _Zlib:
    """isal's decompressobj in the clothes of bz2's: it hands back what it did not consume, which bz2's
    keeps inside."""

    def __init__(self) -> None:
        self._object = isal_zlib.decompressobj(wbits=GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return bytes(self._object.decompress(self._object.unconsumed_tail + data, max_length))


def _zstd_decompressor() -> Decompressor:
    options = {int(zstd.DecompressionParameter.window_log_max): MEMORY_LIMIT.bit_length() - 1}
    decompressor: Decompressor = zstd.ZstdDecompressor(options=options)
    return decompressor


def _xz_decompressor() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT + (16 << 20))


def _decompressors() -> dict[str, Callable[[], Decompressor]]:
    return {GZIP: _Zlib, ZSTD: _zstd_decompressor, BZIP2: bz2.BZ2Decompressor, XZ: _xz_decompressor}
