"""Whiteout names in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.whiteout import OPAQUE, Whiteout, format_whiteout, parse_whiteout


def test_a_whiteout_hides_one_name_and_an_opaque_one_all() -> None:
    assert parse_whiteout(".wh.passwd") == Whiteout("passwd")
    assert parse_whiteout(OPAQUE) == Whiteout("")
    assert Whiteout("").is_opaque
    assert not Whiteout("x").is_opaque


@pytest.mark.parametrize("name", ["passwd", ".whx", "a.wh.b", ".wh", "wh."])
def test_other_names_are_no_whiteouts(name: str) -> None:
    assert parse_whiteout(name) is None


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", ".wh..wh..opqx", ".wh..wh.x"])
def test_malformed_whiteouts_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid whiteout"):
        parse_whiteout(name)


@pytest.mark.parametrize("name", [".wh.x", ".", "..", "a/b"])
def test_a_layer_cannot_say_what_would_read_as_something_else(name: str) -> None:
    with pytest.raises(InvalidParameter, match="cannot hide"):
        format_whiteout(name)


@given(st.text(alphabet=st.characters(blacklist_characters="/\0"), min_size=1))
def test_parsing_undoes_formatting(name: str) -> None:
    if name.startswith(".wh.") or name in {".", ".."}:
        return
    assert parse_whiteout(format_whiteout(name)) == Whiteout(name)
