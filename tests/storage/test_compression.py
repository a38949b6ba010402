"""Every compression is found by its first bytes, inflated as a whole, and refused when damaged or a bomb."""

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.storage import limits
from minidock.storage.compression import BZIP2, GZIP, PLAIN, XZ, ZSTD, decompressed, detect

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMS: dict[str, Callable[[bytes], bytes]] = {
    GZIP: gzip.compress,
    ZSTD: zstd.compress,
    BZIP2: bz2.compress,
    XZ: lzma.compress,
    PLAIN: bytes,
}


def inflate(data: bytes, size: int = 1 << 20) -> tuple[bytes, str]:
    stream, name = decompressed(io.BytesIO(data))
    pieces = []
    while piece := stream.read(size):
        pieces.append(piece)
    return b"".join(pieces), name


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_found_and_inflated(name: str) -> None:
    data = bytes(range(256)) * 5000
    assert inflate(FORMS[name](data), 1000) == (data, name)


@pytest.mark.parametrize("name", [name for name in FORMS if name != PLAIN])
def test_several_members_are_one_stream_and_padding_ends_it(name: str) -> None:
    compress = FORMS[name]
    data = compress(b"one") + compress(b"") + compress(b"two")
    assert inflate(data) == (b"onetwo", name)
    assert inflate(data + bytes(5000)) == (b"onetwo", name)
    with pytest.raises(InvalidParameter, match="trailing garbage"):
        inflate(data + b"garbage")


@pytest.mark.parametrize("name", [name for name in FORMS if name != PLAIN])
def test_damage_and_truncation_are_told(name: str) -> None:
    data = FORMS[name](bytes(range(256)) * 500)
    for cut in (7, len(data) // 2, len(data) - 1):
        with pytest.raises(InvalidParameter, match=f"damaged {name}"):
            inflate(data[:cut])
    broken = bytearray(data)
    broken[-6] ^= 0xFF
    with pytest.raises(InvalidParameter):
        inflate(bytes(broken))


def test_a_zstd_frame_that_wants_much_memory_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    data = zstd.compress(b"x" * (1 << 20), options=options)
    compressor = zstd.ZstdCompressor(options=options)
    unsized = compressor.compress(b"x" * (1 << 20)) + compressor.flush()
    with pytest.raises(InvalidParameter, match="zstd"):
        inflate(unsized)
    assert len(inflate(data)[0]) == 1 << 20  # a frame that says how small it is needs no such window


def test_an_error_of_the_source_is_not_called_damage() -> None:
    class Broken:
        def __init__(self) -> None:
            self.first = gzip.compress(b"x" * 100)[:10]

        def read(self, size: int, /) -> bytes:
            if self.first:
                data, self.first = self.first[:size], self.first[size:]
                return data
            raise ConnectionResetError

    stream, _ = decompressed(Broken())
    with pytest.raises(ConnectionResetError):
        stream.read(100)


def test_a_bomb_is_refused_while_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOMB_FREE_SIZE", 4 << 20)
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(InvalidParameter, match="ratio above"):
        inflate(bomb)
    assert len(inflate(gzip.compress(bytes(3 << 20)))[0]) == 3 << 20


def test_short_streams_are_plain() -> None:
    for data in (b"", b"\x1f", b"\x1f\x8b", b"BZ", b"ab"):
        assert inflate(data) == (data, PLAIN)
    assert detect(b"\x1f\x8b\x08rest") == GZIP


@given(st.binary(max_size=200), st.sampled_from([GZIP, ZSTD, BZIP2, XZ]), st.integers(0, 200))
def test_no_stream_raises_anything_but_our_errors(noise: bytes, name: str, cut: int) -> None:
    try:
        inflate(FORMS[name](b"data" * 50)[:cut] + noise)
    except InvalidParameter:
        pass
