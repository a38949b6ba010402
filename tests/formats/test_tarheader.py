"""Tar headers: Python's tarfile writes what we read, and reads what we write."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.tarheader import (
    BLOCK,
    DIRECTORY,
    REGULAR,
    SYMLINK,
    ZERO_BLOCK,
    Entry,
    apply_pax,
    check,
    encode_entry,
    padding,
    parse_header,
    parse_pax,
)


def block(**changes: object) -> bytes:
    """A header as Python writes it."""
    info = tarfile.TarInfo("a/b")
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_field(data: bytes, start: int, value: bytes) -> bytes:
    """The same header with one field changed and the checksum right again."""
    raw = bytearray(data[:BLOCK])
    raw[start : start + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def test_a_plain_header_is_read() -> None:
    entry = parse_header(block(size=3, mode=0o4755, uid=1, gid=2, mtime=7))
    assert entry is not None
    assert (entry.name, entry.type, entry.mode, entry.uid, entry.gid) == ("a/b", REGULAR, 0o4755, 1, 2)
    assert (entry.size, entry.mtime_ns) == (3, 7_000_000_000)
    assert parse_header(ZERO_BLOCK) is None


def test_large_numbers_come_in_base_256() -> None:
    entry = parse_header(block(size=1 << 40, uid=1 << 30, mtime=-5))
    assert entry is not None
    assert (entry.size, entry.uid, entry.mtime_ns) == (1 << 40, 1 << 30, -5_000_000_000)


def test_the_prefix_field_counts_in_posix_archives_only() -> None:
    info = tarfile.TarInfo("p" * 120 + "/" + "n" * 60)
    entry = parse_header(info.tobuf(tarfile.USTAR_FORMAT))
    assert entry is not None
    assert entry.name == info.name
    gnu = parse_header(with_field(block(), 345, b"123"))
    assert gnu is not None
    assert gnu.name == "a/b"


def test_an_old_directory_has_type_zero_and_a_slash() -> None:
    old = with_field(with_field(block(), 156, b"\0"), 0, b"dir/\0")
    entry = parse_header(old)
    assert entry is not None
    assert entry.type == DIRECTORY


@pytest.mark.parametrize(
    ("start", "value"),
    [
        (124, b"-0000000001\0"),
        (124, b"+0000000001\0"),
        (124, b"0_000000001\0"),
        (100, b"9999999\0"),
        (108, b"x"),
    ],
)
def test_numbers_are_octal_digits_and_nothing_else(start: int, value: bytes) -> None:
    with pytest.raises(InvalidParameter, match="not a number"):
        parse_header(with_field(block(), start, value))


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(block())
    data[0] ^= 1
    with pytest.raises(InvalidParameter, match="checksum"):
        parse_header(bytes(data))


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", "Z"),
        Entry("a", size=-1),
        Entry("a", size=1 << 63),
        Entry("a", uid=2**32 - 1),
        Entry("a", gid=-1),
        Entry("a" * 5000),
        Entry("a\0b"),
        Entry("a", SYMLINK, link="a\0b"),
        Entry("a", mtime_ns=1 << 80),
        Entry("a", "3", major=1 << 20),
    ],
)
def test_impossible_values_are_refused(entry: Entry) -> None:
    with pytest.raises(InvalidParameter, match="invalid tar header"):
        check(entry)


def test_a_link_with_a_size_has_no_data() -> None:
    assert check(Entry("a", "1", link="b", size=100)).size == 0


def test_pax_records_overrule_the_header() -> None:
    entry = Entry("short", size=1)
    records = parse_pax(
        b"18 path=long-name\n13 size=1234\n19 mtime=12.000001\n28 SCHILY.xattr.user.a=b=\x00c\n11 uid=\n"[:-8]
    )
    apply_pax(entry, records)
    assert (entry.name, entry.size, entry.mtime_ns) == ("long-name", 1234, 12_000_001_000)
    assert entry.xattrs == {"user.a": b"b=\0c"}


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"5 a=b",
        b"99 path=a\n",
        b"8 path=a\n",
        b"-6 a=b\n",
        b"6 ab=\n"[:5],
        b"5 abc\n",
        b"5 =b\n",
        b"0 a=b\n",
    ],
)
def test_malformed_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameter):
        parse_pax(data)


@pytest.mark.parametrize("value", [b"-1", b"+1", b"1_0", b" 1", b"1e3", b"9" * 30])
def test_pax_numbers_are_digits(value: bytes) -> None:
    with pytest.raises(InvalidParameter):
        apply_pax(Entry("a"), [("size", value)])


_names = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=300
)


@given(
    name=_names,
    link=_names,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    mtime_ns=st.integers(-(10**18), 10**19),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=50)),
)
def test_tarfile_reads_what_we_write(
    name: str, link: str, mode: int, uid: int, mtime_ns: int, xattrs: dict[str, bytes]
) -> None:
    entry = Entry(name, SYMLINK, mode, uid, 0, 0, mtime_ns, link, xattrs=xattrs)
    raw = encode_entry(entry)
    assert len(raw) % BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(raw + bytes(1024)), mode="r:") as archive:
        [info] = archive.getmembers()
    assert (info.name, info.linkname) == (name.rstrip("/") or info.name, link)
    assert (info.mode, info.uid) == (mode, uid)
    assert float(info.mtime) == pytest.approx(mtime_ns / 1e9)


def test_padding_fills_blocks() -> None:
    assert [padding(size) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
