"""Signals by name."""

import pytest

from minidock.engine import signals
from minidock.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "number"),
    [("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("9", 9), ("64", 64), ("WINCH", 28), ("RTMIN", 34),
     ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("USR1", 10)],
)  # fmt: skip
def test_a_signal_is_a_name_or_a_number(text: str, number: int) -> None:
    assert signals.number(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-9", "FOO", "SIG", "_DFL", "SIG_IGN", "BLOCK", "RTMIN+99", "RTMIN+", "9.0"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid signal: "):
        signals.number(text)
