import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.quickjson import decode, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_agrees_with_the_json_package_in_both_directions(value: object) -> None:
    assert decode(json.dumps(value, ensure_ascii=False).encode()) == value
    assert decode(json.dumps(value, indent=1)) == value
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("text", ["", "{", '{"a":}', "[1,]", "nope", '{"a":1} x', '"open'])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
