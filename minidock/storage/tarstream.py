"""Read a tar from a stream that cannot seek: entries one after another, each with its data, in bounded
memory.

A layer arrives over a socket or out of a decompressor and may be hostile, so what an archive can make us
hold is limited: one block of READ_SIZE, one header with its extensions. Formats:
`minidock.formats.tarheader` and `tarsparse`.
"""

from collections.abc import Iterator

from minidock.errors import InvalidParameter
from minidock.formats import tarsparse
from minidock.formats.digest import Readable
from minidock.formats.tarheader import (
    BLOCK,
    EXTENSION_TYPES,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_SPARSE,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    Entry,
    apply_pax,
    bad,
    check,
    padding,
    parse_header,
    parse_pax,
)

READ_SIZE = 1 << 20
EXTENSION_SIZE_MAX = 1 << 20
EXTENSIONS_IN_A_ROW_MAX = 8


class TarReader:
    """Iterate over the entries; `data()` gives the pieces of the current one, and what is not read is
    skipped."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._buffer = memoryview(b"")
        self._position = 0
        self._unread = 0  # bytes of the current entry's data
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry
        self.drain()

    def data(self) -> Iterator[memoryview]:
        """Yield the rest of the current entry's stored bytes, in pieces of at most READ_SIZE."""
        while self._unread:
            piece = self._piece(self._unread)
            self._unread -= len(piece)
            yield piece

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes of the current entry; b"" at its end. Makes the reader itself a
        source."""
        if not self._unread:
            return b""
        piece = self._piece(min(size, self._unread))
        self._unread -= len(piece)
        return bytes(piece)

    def drain(self) -> None:
        """Read past everything that follows the end mark, for a digest covers it too."""
        self._position = len(self._buffer)
        while self._source.read(READ_SIZE):
            pass

    def _next(self) -> Entry | None:
        self._skip(self._unread + self._padding)
        self._unread = self._padding = 0
        long_name = long_link = b""
        records: list[tuple[str, bytes]] = []
        for _ in range(EXTENSIONS_IN_A_ROW_MAX):
            block = self._header_block()
            entry = parse_header(block) if block else None
            if entry is None:
                return None
            if entry.type not in EXTENSION_TYPES:
                return self._finish(entry, block, long_name, long_link, records)
            body = self._extension(entry)
            if entry.type == GNU_LONG_NAME:
                long_name = body.partition(b"\0")[0]
            elif entry.type == GNU_LONG_LINK:
                long_link = body.partition(b"\0")[0]
            elif entry.type == PAX:
                records = parse_pax(body)
            elif entry.type == PAX_GLOBAL:
                parse_pax(body)
        raise bad("too many extension headers in a row")

    def _finish(
        self, entry: Entry, block: bytes, long_name: bytes, long_link: bytes, records: list[tuple[str, bytes]]
    ) -> Entry:
        """Merge header, long names and PAX records, and read a sparse map if there is one."""
        if long_name:
            entry.name = long_name.decode("utf-8", "surrogateescape")
        if long_link:
            entry.link = long_link.decode("utf-8", "surrogateescape")
        sparse = apply_pax(entry, records) if records else {}
        if entry.type == GNU_SPARSE:
            self._old_sparse_map(entry, block)
        elif sparse and entry.type == REGULAR:
            self._pax_sparse_map(entry, sparse)
        check(entry)
        if entry.sparse is not None:
            tarsparse.check_map(entry)
        self._unread = entry.size
        self._padding = self._padding or padding(entry.size)
        return entry

    def _old_sparse_map(self, entry: Entry, block: bytes) -> None:
        pieces = tarsparse.pieces_of_block(block, 386, tarsparse.HEADER_PIECES)
        entry.real_size = tarsparse.real_size_of_block(block)
        more = tarsparse.is_extended(block, in_header=True)
        while more:
            block = self._exactly(BLOCK)
            pieces += tarsparse.pieces_of_block(block, 0, tarsparse.EXTENSION_PIECES)
            more = tarsparse.is_extended(block, in_header=False)
            if len(pieces) > tarsparse.PIECES_MAX:
                break
        entry.type = REGULAR
        entry.sparse = pieces

    def _pax_sparse_map(self, entry: Entry, sparse: dict[str, str]) -> None:
        real_size = sparse.get("GNU.sparse.realsize", sparse.get("GNU.sparse.size", ""))
        if not real_size.isascii() or not real_size.isdigit() or len(real_size) > 19:
            raise bad(f"{entry.name!r} has no sparse size")
        stored = entry.size
        entry.name = sparse.get("GNU.sparse.name", entry.name)
        entry.real_size = int(real_size)
        if sparse.get("GNU.sparse.major") == "1":
            entry.sparse = self._leading_map(entry)
            self._padding = padding(stored)
        else:
            entry.sparse = tarsparse.pieces_of_map(sparse.get("GNU.sparse.map", ""))

    def _leading_map(self, entry: Entry) -> list[tuple[int, int]]:
        """Read the map of PAX format 1.0: decimal lines in front of the data, padded to a block."""
        text = b""
        wanted = 1
        while text.count(b"\n") < wanted:
            if entry.size < BLOCK or len(text) > EXTENSION_SIZE_MAX:
                raise bad(f"{entry.name!r} has a malformed sparse map")
            text += self._exactly(BLOCK)
            entry.size -= BLOCK
            first = text.partition(b"\n")[0]
            if b"\n" in text:
                if not first.isdigit() or len(first) > 6:
                    raise bad(f"{entry.name!r} has a malformed sparse map")
                wanted = 1 + 2 * int(first)
        lines = text.split(b"\n")[1:wanted]
        return tarsparse.pieces_of_map(b",".join(lines).decode("latin-1"))

    def _extension(self, entry: Entry) -> bytes:
        if not 0 <= entry.size <= EXTENSION_SIZE_MAX:
            raise bad(f"an extension header of {entry.size} bytes")
        body = self._exactly(entry.size)
        self._skip(padding(entry.size))
        return body

    def _header_block(self) -> bytes:
        """Read one block; b"" if the stream ends here, which many writers take for an end mark."""
        start = self._position
        if len(self._buffer) - start >= BLOCK:
            self._position = start + BLOCK
            return bytes(self._buffer[start : start + BLOCK])
        if start == len(self._buffer) and not self._fill():
            return b""
        return self._exactly(BLOCK)

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._piece(size)
            size -= len(piece)
            pieces.append(bytes(piece))
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._piece(size))

    def _piece(self, size: int) -> memoryview:
        """Return 1 to `size` bytes, as they lie in the buffer."""
        if self._position == len(self._buffer) and not self._fill():
            raise InvalidParameter("unexpected EOF in tar archive")
        piece = self._buffer[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def _fill(self) -> bool:
        self._buffer = memoryview(self._source.read(READ_SIZE))
        self._position = 0
        return len(self._buffer) > 0
