"""Digests, and the ChainID of the specification."""

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter, Unsupported
from minidock.formats.digest import (
    HashingReader,
    chain_id,
    chain_ids,
    digest_of,
    encoded,
    is_digest,
    parse_digest,
)


@given(st.binary())
def test_a_digest_is_sha256_of_the_bytes(data: bytes) -> None:
    assert digest_of(data) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert parse_digest(digest_of(data)) == digest_of(data)
    assert len(encoded(digest_of(data))) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 64 + "\n",
        "a" * 64,
        "sha256:../../etc/passwd",
        "sha256:" + "g" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(InvalidParameter, match="invalid checksum digest"):
        parse_digest(text)


def test_a_digest_that_we_cannot_verify_is_named() -> None:
    with pytest.raises(Unsupported, match="unsupported digest algorithm: sha512"):
        parse_digest("sha512:" + "a" * 128)


def test_a_chain_id_covers_everything_below() -> None:
    layers = [digest_of(b"a"), digest_of(b"b"), digest_of(b"c")]
    first, second, third = chain_ids(layers)
    assert first == layers[0]
    assert second == "sha256:" + hashlib.sha256(f"{first} {layers[1]}".encode()).hexdigest()
    assert third == chain_id(second, layers[2])
    assert chain_ids([layers[1], layers[0], layers[2]])[2] != third


@given(st.lists(st.binary(min_size=1)))
def test_a_hashing_reader_passes_bytes_through_and_knows_them(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    reader = HashingReader(io.BytesIO(data))
    seen = b""
    while piece := reader.read(3):
        seen += piece
    assert (seen, reader.digest, reader.size) == (data, digest_of(data), len(data))
