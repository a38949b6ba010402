"""Reading tars from streams that give a few bytes at a time, and from people who lie about sizes."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.tarheader import Entry, encode_entry, padding
from minidock.storage.tarstream import TarReader

Make = Callable[..., tuple[tarfile.TarInfo, bytes]]
Tar = Callable[..., bytes]


class Trickle:
    """A stream that gives at most `step` bytes at a time, as a socket may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._step))


class Zeros:
    """`size` zeros that never exist at once."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int, /) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def read_all(source: object) -> dict[str, bytes]:
    reader = TarReader(source)  # type: ignore[arg-type]
    return {entry.name: b"".join(map(bytes, reader.data())) for entry in reader}


@given(
    st.lists(st.tuples(st.text("ab/é", min_size=1, max_size=150), st.binary(max_size=1500)), max_size=5),
    st.sampled_from([1, 7, 511, 512, 513, 1 << 20]),
)
def test_what_comes_in_crumbs_is_read_as_a_whole(files: list[tuple[str, bytes]], step: int) -> None:
    raw = b"".join(
        encode_entry(Entry(name, size=len(data))) + data + bytes(padding(len(data))) for name, data in files
    )
    reader = TarReader(Trickle(raw + bytes(1024), step))
    assert [(entry.name, b"".join(map(bytes, reader.data()))) for entry in reader] == files


def test_unread_data_is_skipped(tar: Tar, member: Make) -> None:
    reader = TarReader(io.BytesIO(tar([member("a", b"x" * 5000), member("b", b"y")])))
    names = []
    for entry in reader:
        names.append(entry.name)
        assert len(reader.read(3)) == min(3, entry.size)
    assert names == ["a", "b"]


def test_an_archive_may_end_without_an_end_mark_but_not_within_an_entry(tar: Tar, member: Make) -> None:
    raw = tar([member("a", b"x" * 600)])
    assert read_all(io.BytesIO(raw[:1536])) == {"a": b"x" * 600}
    for cut in (100, 512 + 599, 1535 - 512):
        with pytest.raises(InvalidParameter, match="unexpected EOF"):
            read_all(io.BytesIO(raw[:cut]))
    assert read_all(io.BytesIO(b"")) == {}


def test_everything_after_the_end_mark_is_read_but_not_kept() -> None:
    source = Zeros(300 << 20)
    assert read_all(source) == {}
    assert source.left == 0


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_huge_extension_header_is_refused_before_it_is_read(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 1 << 40
    source = Zeros(1 << 40)

    class Joined:
        def __init__(self) -> None:
            self.head = info.tobuf(tarfile.GNU_FORMAT)

        def read(self, size: int, /) -> bytes:
            data, self.head = self.head[:size], self.head[size:]
            return data or source.read(size)

    with pytest.raises(InvalidParameter, match="extension header"):
        read_all(Joined())


def test_endless_extension_headers_are_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type = b"L"
    with pytest.raises(InvalidParameter, match="too many extension"):
        read_all(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) * 100))


def test_rubbish_is_no_tar() -> None:
    with pytest.raises(InvalidParameter, match="not a tar archive"):
        read_all(io.BytesIO(b"#!/bin/sh\n" + b"rubbish" * 200))


@given(st.data())
def test_no_damage_raises_anything_but_our_errors(data: st.DataObject) -> None:
    info = tarfile.TarInfo("some/" + "long" * 40)
    info.size, info.pax_headers = 700, {"SCHILY.xattr.user.a": "b", "GNU.sparse.major": "1"}
    raw = bytearray(info.tobuf(tarfile.PAX_FORMAT) + b"z" * 1024 + bytes(1024))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.sampled_from([0, 512, 1024]))
    block = bytearray(raw[start : start + 512])
    block[148:156] = b" " * 8
    raw[start + 148 : start + 156] = b"%06o\0 " % sum(block)  # or the checksum would stop everything
    try:
        read_all(io.BytesIO(bytes(raw)))
    except InvalidParameter:
        pass


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
def test_sparse_files_of_every_format_arrive_with_their_holes(
    tmp_path_factory: pytest.TempPathFactory,
    root: Path,
    unpack: Callable[..., object],
    options: list[str],
) -> None:
    original = tmp_path_factory.mktemp("source")
    with open(original / "sparse", "wb") as file:
        for number in range(30):  # more pieces than fit one header
            file.seek(number * (1 << 20) + 4096)
            file.write(b"%d" % number * 5000)
        file.truncate(64 << 20)
    (original / "after").write_bytes(b"plain")
    raw = subprocess.run(
        ["tar", "-C", str(original), *options, "--sparse", "-c", "sparse", "after"],
        capture_output=True,
        check=True,
    ).stdout
    assert len(raw) < 8 << 20
    unpack(raw)
    assert (root / "sparse").read_bytes() == (original / "sparse").read_bytes()
    assert (root / "after").read_bytes() == b"plain"
    assert os.stat(root / "sparse").st_blocks * 512 < 16 << 20
