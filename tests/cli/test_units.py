import pytest

from minidock.cli.table import align
from minidock.cli.units import binary_size, duration, ellipsis, nanosecond_time, size

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (59.9 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (1.6 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_durations_read_as_in_docker_ps(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_have_three_or_four_digits() -> None:
    assert [size(n, 3) for n in (0, 999, 1982256, 4261574)] == ["0B", "999B", "1.98MB", "4.26MB"]
    assert size(1982256) == "1.982MB"
    assert binary_size(25275000000) == "23.54GiB"


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    assert (ellipsis("x" * 20, 20), ellipsis("x" * 21, 20)) == ("x" * 20, "x" * 19 + "…")


def test_events_are_stamped_to_the_nanosecond() -> None:
    assert ".000000007" in nanosecond_time(1_600_000_000_000_000_007)


def test_columns_are_three_wider_than_their_widest_cell_and_at_least_ten() -> None:
    assert align("A\tB\nlonger cell\tx") == "A             B\nlonger cell   x"
    assert align("A\tB\nc\td") == "A         B\nc         d"


def test_a_column_lasts_as_long_as_consecutive_lines_have_it() -> None:
    assert align("wide wide wide\tx\nno tab\nc\td") == "wide wide wide   x\nno tab\nc         d"
