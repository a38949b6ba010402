"""Sparse maps from strangers."""

import pytest

from minidock.errors import InvalidParameter
from minidock.formats.tarheader import Entry
from minidock.formats.tarsparse import check_map, pieces_of_block, pieces_of_map


def test_a_map_is_pairs_of_numbers() -> None:
    assert pieces_of_map("0,5,10,3") == [(0, 5), (10, 3)]
    assert pieces_of_map("") == []
    assert pieces_of_block(b"%011o\0%011o\0" % (8, 9) + bytes(24), 0, 2) == [(8, 9)]


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", "-1,2", "1,2,", "1_0,2", "1" * 30 + ",1"])
def test_a_malformed_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        pieces_of_map(text)


@pytest.mark.parametrize(
    ("pieces", "stored", "real"),
    [
        ([(0, 5), (3, 5)], 10, 100),  # overlap
        ([(10, 5), (0, 5)], 10, 100),  # order
        ([(98, 5)], 5, 100),  # beyond the file
        ([(0, 5)], 6, 100),  # does not add up
        ([(0, -5), (10, 10)], 5, 100),
        ([], 0, 1 << 63),
        ([(i, 0) for i in range(100_001)], 0, 1 << 20),
    ],
)
def test_a_map_that_does_not_fit_is_refused(pieces: list[tuple[int, int]], stored: int, real: int) -> None:
    with pytest.raises(InvalidParameter):
        check_map(Entry("a", size=stored, real_size=real, sparse=pieces))


def test_a_map_that_fits_is_taken() -> None:
    check_map(Entry("a", size=8, real_size=100, sparse=[(0, 5), (5, 0), (97, 3)]))
