"""Sparse files in tars: where the stored pieces belong; everything between them is a hole.

GNU tar has invented four ways to say it: in the header block itself (type `S`), and in PAX records 0.0, 0.1
and 1.0; in the last one the map stands in front of the data. A map comes from a stranger, so `check_map`
runs before anybody seeks by it. GNU tar manual, "Sparse Formats".
"""

from minidock.formats.tarheader import SIZE_MAX, Entry, bad

PIECES_MAX = 100_000
HEADER_PIECES = 4
EXTENSION_PIECES = 21


def pieces_of_block(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """Read `count` pairs of 12-byte numbers at `start`; an empty pair ends the list."""
    pieces = []
    for position in range(start, start + 24 * count, 24):
        pair = block[position : position + 24]
        if pair[0] == 0:
            break
        pieces.append((_field(pair[:12]), _field(pair[12:])))
    return pieces


def is_extended(block: bytes, in_header: bool) -> bool:
    """Tell whether another block of the old format's map follows."""
    return block[482 if in_header else 504] not in (0, 0x30)


def real_size_of_block(block: bytes) -> int:
    """Return the file's length from the header block of the old format."""
    return _field(block[483:495])


def pieces_of_map(text: str) -> list[tuple[int, int]]:
    """Read the comma-separated map of PAX formats 0.0 and 0.1."""
    if not text:
        return []
    numbers = text.split(",")
    if len(numbers) % 2 or not all(
        number.isascii() and number.isdigit() and len(number) < 20 for number in numbers
    ):
        raise bad("a sparse map is malformed")
    values = [int(number) for number in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def check_map(entry: Entry) -> None:
    """Refuse a map that is unordered, overlaps, leaves the file, or does not add up to the stored size."""
    pieces = entry.sparse or []
    if len(pieces) > PIECES_MAX:
        raise bad(f"{entry.name!r} has more than {PIECES_MAX} sparse pieces")
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0 or offset > SIZE_MAX or length > SIZE_MAX:
            raise bad(f"{entry.name!r} has a sparse map out of order")
        end = offset + length
    if (
        end > entry.real_size
        or entry.real_size > SIZE_MAX
        or sum(length for _, length in pieces) != entry.size
    ):
        raise bad(f"{entry.name!r} has a sparse map that does not fit its size")


def _field(raw: bytes) -> int:
    if raw[0] & 0x80:
        return int.from_bytes(raw[1:], "big")
    digits = raw.strip(b" \0")
    if not digits.isdigit() or digits.strip(b"01234567"):
        raise bad("a sparse map is malformed")
    return int(digits, 8)
