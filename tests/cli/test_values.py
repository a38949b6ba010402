import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.failure import Failure
from minidock.cli.since import moment
from minidock.cli.values import byte_size, duration_ns, nano_cpus


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100", 100),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("128MiB", 128 << 20),
        ("1.5g", 3 << 29),
        ("2k", 2048),
    ],
)
def test_sizes_are_powers_of_1024(text: str, number: int) -> None:
    assert byte_size(text) == number


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("64x", "invalid suffix: 'x'"), ("-5", "invalid size: '-5'"), ("x", "invalid size: 'x'")],
)
def test_a_wrong_size_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        byte_size(text)
    assert str(caught.value) == sentence


def test_durations_are_gos() -> None:
    assert duration_ns("1m30s") == 90 * 10**9
    assert (duration_ns("300ms"), duration_ns("1.5h"), duration_ns("-5s")) == (
        3 * 10**8,
        5400 * 10**9,
        -5 * 10**9,
    )
    for text in ("5", "", "x", "5y"):
        with pytest.raises(ValueError, match="time: "):
            duration_ns(text)


@given(st.integers(0, 10**12))
def test_processors_are_exact_to_the_nano(nano: int) -> None:
    assert nano_cpus(f"{nano // 10**9}.{nano % 10**9:09d}") == nano


def test_processors_more_precise_than_that_are_refused() -> None:
    for text, words in (("1.0000000001", "too precise"), ("abc", "failed to parse abc")):
        with pytest.raises(ValueError, match=words):
            nano_cpus(text)


def test_a_moment_is_a_number_a_date_or_a_while_ago() -> None:
    assert (moment(""), moment("1357133017.5")) == ("", "1357133017.5")
    assert moment("2013-01-02T13:23:37Z") == "1357133017.000000000"
    assert moment("2013-01-02T14:23:37.25+01:00") == "1357133017.250000000"
    assert 0 < float(moment("10m")) - float(moment("20m")) < 700
    with pytest.raises(Failure, match="failed to parse value as time or duration"):
        moment("x")
