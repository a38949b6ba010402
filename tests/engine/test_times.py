"""Times as Docker writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.engine import times
from minidock.engine.model import ZERO_TIME
from minidock.errors import InvalidParameter


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000_000))
def test_nanoseconds_survive_the_way_to_text_and_back(time_ns: int) -> None:
    assert times.to_ns(times.to_text(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00.000000001-05:00", 1),
        (ZERO_TIME, -62135596800_000_000_000),
    ],
)
def test_rfc_3339_is_read_with_zone_and_fraction(text: str, time_ns: int) -> None:
    assert times.to_ns(text) == time_ns


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00Zx"]
)
def test_what_is_no_time_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid time"):
        times.to_ns(text)


def test_trailing_zeros_are_left_out() -> None:
    assert times.to_text(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert times.to_text(2_000_000_000) == "1970-01-01T00:00:02Z"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_are_said_in_dockers_words(seconds: float, words: str) -> None:
    assert times.human(seconds) == words
