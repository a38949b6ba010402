"""Query strings in the forms of both client families."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.api.query import Query
from minidock.errors import InvalidParameter


@pytest.mark.parametrize("word", ["", "0", "no", "False", "NONE", "false"])
def test_the_words_that_docker_takes_for_false(word: str) -> None:
    assert not Query(f"all={word}").boolean("all", default=True)


@pytest.mark.parametrize("word", ["1", "True", "true", "yes", "anything"])
def test_every_other_word_is_true(word: str) -> None:
    assert Query(f"all={word}").boolean("all")


def test_an_absent_flag_has_its_default() -> None:
    assert Query("").boolean("rm", default=True)
    assert not Query("").boolean("rm")


@given(st.dictionaries(st.text(min_size=1), st.lists(st.text(), max_size=4), max_size=4))
def test_filters_of_both_clients_mean_the_same(filters: dict[str, list[str]]) -> None:
    of_docker_py = json.dumps(filters)
    of_the_cli = json.dumps({name: dict.fromkeys(values, True) for name, values in filters.items()})
    first = Query(f"filters={quote(of_docker_py)}").filters()
    second = Query(f"filters={quote(of_the_cli)}").filters()
    assert {name: sorted(set(values)) for name, values in first.items()} == {
        name: sorted(values) for name, values in second.items()
    }


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1}', '{"a": [1]}', '"x"', "[" * 100_000])
def test_filters_that_are_no_filters_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        Query(f"filters={quote(text)}").filters()


def test_an_empty_filters_parameter_is_none_at_all() -> None:
    assert Query("filters=").filters() == {}


def test_times_keep_all_nine_digits() -> None:
    assert Query("since=1700000000.000000001").time_ns("since") == 1_700_000_000_000_000_001
    assert Query("since=1700000000.5").time_ns("since") == 1_700_000_000_500_000_000
    assert Query("since=0").time_ns("since") is None


@pytest.mark.parametrize("text", ["x", "1.x", "1e5", "-"])
def test_a_bad_time_is_named(text: str) -> None:
    with pytest.raises(InvalidParameter, match="since"):
        Query(f"since={text}").time_ns("since")


def test_a_bad_number_is_named() -> None:
    with pytest.raises(InvalidParameter, match="limit"):
        Query("limit=many").integer("limit")
    assert Query("limit=").integer("limit", 7) == 7
