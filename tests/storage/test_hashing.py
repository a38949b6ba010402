"""The digest of a stream, known while it is read."""

import hashlib
import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.formats.digest import digest_of
from minidock.storage.hashing import BESIDE_SIZE, HashingReader


@given(st.lists(st.binary(min_size=1)))
def test_a_hashing_reader_passes_bytes_through_and_knows_them(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    reader = HashingReader(io.BytesIO(data))
    seen = b""
    while piece := reader.read(3):
        seen += piece
    assert (seen, reader.digest, reader.size) == (data, digest_of(data), len(data))


@given(st.lists(st.sampled_from([1, BESIDE_SIZE - 1, BESIDE_SIZE, 3 * BESIDE_SIZE]), max_size=6))
def test_pieces_of_all_sizes_are_hashed_in_their_order(sizes: list[int]) -> None:
    data = b"".join(bytes([number + 1]) * size for number, size in enumerate(sizes))
    reader = HashingReader(io.BytesIO(data))
    read = b""
    for size in sizes:
        read += reader.read(size)
        assert reader.digest == digest_of(read)
    assert (read, reader.size) == (data, len(data))


class _Watched:
    """A hash that notes who computes it, and waits for `go` each time."""

    def __init__(self) -> None:
        self.real = hashlib.sha256()
        self.threads: list[threading.Thread] = []
        self.go = threading.Event()

    def update(self, data: bytes) -> None:
        self.threads.append(threading.current_thread())
        assert self.go.wait(10)
        self.real.update(data)

    def hexdigest(self) -> str:
        return self.real.hexdigest()


def test_a_large_piece_is_given_out_before_it_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched()
    monkeypatch.setattr("minidock.storage.hashing.sha256", lambda: watched)
    data = bytes(2 * BESIDE_SIZE)
    reader = HashingReader(io.BytesIO(data))
    assert len(reader.read(BESIDE_SIZE)) == BESIDE_SIZE  # a read that hashed first would wait for ever
    watched.go.set()
    assert len(reader.read(BESIDE_SIZE)) == BESIDE_SIZE
    assert reader.digest == digest_of(data)
    assert threading.current_thread() not in watched.threads
    assert len(set(watched.threads)) == 1
    threads = watched.threads
    del reader
    threads[0].join(10)
    assert not threads[0].is_alive()
