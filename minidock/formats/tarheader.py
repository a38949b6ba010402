"""Tar headers: one 512-byte block, and the PAX records that overrule it, to and from an `Entry`.

Layers are tars from strangers, and 8,700 of these blocks stand between a user and his container: this parser
is strict where tarfile is lenient (signs, negative sizes, embedded NUL, unknown types) and several times
faster. POSIX.1-2017 pax ("ustar Interchange Format", "pax Extended Header"); GNU tar manual, "Tar
Internals"; xattrs as star and Go write them (`SCHILY.xattr.`). PAX *global* headers are read past without
effect, as Docker does: git puts only a comment there, and everything else would let one header rename all
entries.
"""

import re
import struct
from dataclasses import dataclass, field

from minidock.errors import InvalidParameter

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
PATH_LENGTH_MAX = 4096
XATTR_PREFIX = "SCHILY.xattr."

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
GNU_LONG_NAME, GNU_LONG_LINK, GNU_SPARSE, PAX, PAX_GLOBAL = "L", "K", "S", "x", "g"
FILE_TYPES = frozenset({REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO, GNU_SPARSE})
EXTENSION_TYPES = frozenset({GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL})
TYPES_WITH_DATA = frozenset({REGULAR, GNU_SPARSE}) | EXTENSION_TYPES

ID_MAX = 2**32 - 2  # chown(2) takes 2**32 - 1 for "leave as it is"
SIZE_MAX = 1 << 62
SECONDS_MAX = 1 << 40
MAJOR_MAX, MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1

_ustar = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_decimal = re.compile(r"\A(-?)([0-9]{1,19})(?:\.([0-9]*))?\Z")
_POSIX_MAGIC, _GNU_MAGIC = b"ustar\x0000", b"ustar  \x00"


@dataclass(slots=True)
class Entry:
    """One member of an archive; `size` is the bytes stored, `real_size` the file's length (they differ
    for sparse files)."""

    name: str
    type: str = REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    real_size: int = -1
    xattrs: dict[str, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None  # (offset, length) of the stored pieces


def bad(reason: str) -> InvalidParameter:
    """Return the error for a broken archive."""
    return InvalidParameter(f"invalid tar header: {reason}")


def parse_header(block: bytes) -> Entry | None:
    """Read one header block; None for a block of zeros, which ends an archive."""
    if block == ZERO_BLOCK:
        return None
    fields = _ustar.unpack(block)
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, major, minor, prefix = fields
    _verify_checksum(block, checksum)
    path = _text(name)
    if magic == _POSIX_MAGIC and prefix[0]:
        path = f"{_text(prefix)}/{path}"
    letter = kind.decode("latin-1")
    if letter in ("\x00", "7"):  # V7's way, and "contiguous" files
        letter = DIRECTORY if path.endswith("/") and letter == "\x00" else REGULAR
    entry = Entry(
        path,
        letter,
        _number(mode) & 0o7777,
        _number(uid),
        _number(gid),
        _number(size),
        _number(mtime) * 10**9,
        _text(link),
    )
    if letter in (CHARACTER, BLOCK_DEVICE):
        entry.major, entry.minor = _number(major), _number(minor)
    return entry


def apply_pax(entry: Entry, records: list[tuple[str, bytes]]) -> dict[str, str]:
    """Let PAX records overrule the header; return the `GNU.sparse.*` ones, which need the file's data too."""
    sparse: dict[str, str] = {}
    for key, value in records:
        if key.startswith(XATTR_PREFIX):
            entry.xattrs[key.removeprefix(XATTR_PREFIX)] = value
            continue
        if not value:
            continue  # POSIX: an empty value takes the record back, so the header's field counts
        text = value.decode("utf-8", "surrogateescape")
        if key == "path":
            entry.name = text
        elif key == "linkpath":
            entry.link = text
        elif key == "mtime":
            entry.mtime_ns = _time_ns(text)
        elif key in ("uid", "gid", "size"):
            setattr(entry, key, _integer(text))
        elif key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):  # format 0.0 repeats the two in turn
            sparse["GNU.sparse.map"] = (
                f"{sparse['GNU.sparse.map']},{text}" if "GNU.sparse.map" in sparse else text
            )
        elif key.startswith("GNU.sparse."):
            sparse[key] = text
    return sparse


def check(entry: Entry) -> Entry:
    """Refuse an entry whose values no file can have; called once everything that can overrule the header
    has."""
    if entry.type not in FILE_TYPES:
        raise bad(f"{entry.name!r} has the unknown type {entry.type!r}")
    for path in (entry.name, entry.link):
        if len(path) >= PATH_LENGTH_MAX:
            raise bad(f"a path is longer than {PATH_LENGTH_MAX} bytes")
        if "\0" in path:
            raise bad("a path contains a NUL byte")
    if not (0 <= entry.uid <= ID_MAX and 0 <= entry.gid <= ID_MAX):
        raise bad(f"{entry.name!r} has an impossible owner {entry.uid}:{entry.gid}")
    if abs(entry.mtime_ns) > SECONDS_MAX * 10**9:
        raise bad(f"{entry.name!r} has an impossible time")
    if entry.type not in TYPES_WITH_DATA:
        entry.size = 0  # some archivers leave the size of the file behind a hard link here, without data
    if not 0 <= entry.size <= SIZE_MAX:
        raise bad(f"{entry.name!r} has an impossible size")
    if not (0 <= entry.major <= MAJOR_MAX and 0 <= entry.minor <= MINOR_MAX):
        raise bad(f"{entry.name!r} has an impossible device number")
    if entry.real_size < 0:
        entry.real_size = entry.size
    return entry


def parse_pax(data: bytes) -> list[tuple[str, bytes]]:
    """Split the body of a PAX header into (keyword, value), each record being "LENGTH keyword=value\\n"."""
    records = []
    position = 0
    while position < len(data):
        length_text, space, _ = data[position : position + 20].partition(b" ")
        if not space or not length_text.isdigit():
            raise bad("a PAX record has no length")
        end = position + int(length_text)
        record = data[position + len(length_text) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(data) or not equals or not key or not value.endswith(b"\n"):
            raise bad("a PAX record is malformed")
        records.append((key.decode("utf-8", "surrogateescape"), value[:-1]))
        position = end
    return records


def encode_entry(entry: Entry) -> bytes:
    """Return the header blocks of an entry: one, or a PAX header with its records before it where ustar
    is too narrow."""
    records: dict[str, bytes] = {XATTR_PREFIX + key: value for key, value in sorted(entry.xattrs.items())}
    name, link = _encode(entry.name), _encode(entry.link)
    seconds, fraction = divmod(entry.mtime_ns, 10**9)
    size = entry.size if entry.type in TYPES_WITH_DATA else 0
    if len(name) > 100 or not name.isascii():
        records["path"] = name
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    if fraction or not 0 <= seconds < 8**11:
        records["mtime"] = (
            f"{seconds}.{fraction:09d}".encode() if seconds >= 0 else _negative_time(entry.mtime_ns)
        )
    for key, value, limit in (("uid", entry.uid, 8**7), ("gid", entry.gid, 8**7), ("size", size, 8**11)):
        if value >= limit:
            records[key] = str(value).encode()
    blocks = _pax_blocks(records) if records else b""
    return blocks + _block(
        name[:100],
        entry.type,
        entry.mode,
        (
            entry.uid % 8**7 if "uid" in records else entry.uid,
            entry.gid % 8**7 if "gid" in records else entry.gid,
        ),
        0 if "size" in records else size,
        max(seconds, 0) % 8**11,
        link[:100],
        (entry.major, entry.minor),
    )


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes of data."""
    return -size % BLOCK


def _pax_blocks(records: dict[str, bytes]) -> bytes:
    body = b"".join(_pax_record(_encode(key), value) for key, value in records.items())
    head = _block(b"PaxHeader", PAX, 0o644, (0, 0), len(body), 0, b"", (0, 0))
    return head + body + bytes(padding(len(body)))


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1  # the length counts its own digits
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes,
    kind: str,
    mode: int,
    owner: tuple[int, int],
    size: int,
    seconds: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    block = bytearray(
        _ustar.pack(
            name,
            b"%07o\0" % mode,
            b"%07o\0" % owner[0],
            b"%07o\0" % owner[1],
            b"%011o\0" % size,
            b"%011o\0" % seconds,
            b" " * 8,
            kind.encode(),
            link,
            _POSIX_MAGIC,
            b"",
            b"",
            b"%07o\0" % device[0],
            b"%07o\0" % device[1],
            b"",
        )
    )
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _verify_checksum(block: bytes, stored: bytes) -> None:
    digits = stored.rstrip(b"\0 ").strip(b" ")
    expected = int(digits, 8) if digits and not digits.strip(b"01234567") else -1
    unsigned = sum(block) - sum(stored) + 8 * 0x20
    if unsigned != expected:
        signed = unsigned - 256 * sum(1 for i, byte in enumerate(block) if byte > 127 and not 148 <= i < 156)
        if signed != expected:  # some old archivers summed signed bytes
            raise bad("wrong checksum: this is not a tar archive, or it is damaged")


def _number(octal: bytes) -> int:
    """Read an octal field, or GNU's base-256 form, marked by the first byte's top bit."""
    if octal[0] & 0x80:
        value = int.from_bytes(octal, "big") & ((1 << (8 * len(octal) - 1)) - 1)
        return value - (1 << (8 * len(octal) - 1)) if octal[0] & 0x40 else value
    digits = octal[:-1]  # the usual form: digits and one NUL or space
    if octal[-1] not in b"\0 " or not digits.isdigit():
        digits = octal.partition(b"\0")[0].strip(b" ")
        if not digits:
            return 0
    if digits.isdigit() and not digits.strip(b"01234567"):
        return int(digits, 8)
    raise bad(f"{octal!r} is not a number")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise bad(f"{text[:40]!r} is not a number")
    return int(text)


def _time_ns(text: str) -> int:
    match = _decimal.match(text)
    if match is None:
        raise bad(f"{text[:40]!r} is not a time")
    nanoseconds = int(match[2]) * 10**9 + int((match[3] or "")[:9].ljust(9, "0"))
    return -nanoseconds if match[1] else nanoseconds


def _negative_time(mtime_ns: int) -> bytes:
    return b"-%d.%09d" % divmod(-mtime_ns, 10**9)
