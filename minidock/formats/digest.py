"""Content addresses: a digest names bytes, a DiffID names an uncompressed layer, a ChainID names a stack of
layers.

Three names for one layer, because its bytes travel compressed: the *digest* is of the bytes as transferred,
the *DiffID* of the uncompressed tar, and the *ChainID* of a layer together with everything below it, since
what a tree looks like depends on that too. All three are written `sha256:<64 hex>`. OCI image-spec,
descriptor.md ("Digests") and config.md ("Layer ChainID").
"""

import hashlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from minidock.errors import InvalidParameter, Unsupported

if TYPE_CHECKING:
    from hashlib import _Hash

Digest: TypeAlias = str
DiffID: TypeAlias = str
ChainID: TypeAlias = str

PATTERN = r"\Asha256:[0-9a-f]{64}\Z"
ALGORITHM = "sha256"

_canonical = re.compile(PATTERN)
_grammar = re.compile(r"\A[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")


class Readable(Protocol):
    """All that a source of bytes has to offer; `read` returns b"" at the end and may return less than
    asked."""

    def read(self, size: int, /) -> bytes: ...


def parse_digest(text: str) -> Digest:
    """Return `text` if it is a digest that we can verify, else raise InvalidParameter (Unsupported:
    another algorithm)."""
    if _canonical.match(text):
        return text
    if not _grammar.match(text):
        raise InvalidParameter("invalid checksum digest format")
    algorithm, _, encoded = text.partition(":")
    if algorithm != ALGORITHM:
        raise Unsupported(f"unsupported digest algorithm: {algorithm}")
    if len(encoded) != 64:
        raise InvalidParameter("invalid checksum digest length")
    raise InvalidParameter("invalid checksum digest format")


def is_digest(text: str) -> bool:
    """Tell whether `text` is a canonical sha256 digest."""
    return _canonical.match(text) is not None


def encoded(digest: Digest) -> str:
    """Return the 64 hex digits: what stands in a file name (a colon would split overlayfs' lowerdir
    option)."""
    return digest.removeprefix(ALGORITHM + ":")


def digest_of(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}"


def chain_ids(diff_ids: Iterable[DiffID]) -> tuple[ChainID, ...]:
    """Return the ChainID of each layer of a stack, lowest first.

    ChainID(L0) = DiffID(L0); ChainID(L0|...|Ln) = digest of the text "ChainID(L0|...|Ln-1) DiffID(Ln)".
    """
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        chain.append(chain_id(chain[-1] if chain else "", diff_id))
    return tuple(chain)


def chain_id(parent: ChainID, diff_id: DiffID) -> ChainID:
    """Return the ChainID of layer `diff_id` above `parent` ("" for none)."""
    return digest_of(f"{parent} {diff_id}".encode()) if parent else diff_id


class HashingReader:
    """Passes a stream through and knows, at any moment, the digest and the size of what has been read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash: _Hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        """The digest of the bytes read so far."""
        return f"{ALGORITHM}:{self._hash.hexdigest()}"
