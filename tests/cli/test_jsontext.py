import json

from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.jsontext import indent

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_indenting_changes_blanks_only(value: object) -> None:
    assert indent(json.dumps(value)) == json.dumps(value, indent=4)


def test_the_engines_spelling_survives() -> None:
    assert indent('{"a":1.50,"b":"\\u003c"}') == '{\n    "a": 1.50,\n    "b": "\\u003c"\n}'
