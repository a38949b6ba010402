"""Names: what may be one, who has it, and what nobody chose."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.engine import names
from minidock.errors import Conflict, InvalidParameter


@pytest.mark.parametrize("name", ["ab", "/ab", "a1", "A.b_c-d", "0a"])
def test_a_name_of_the_allowed_characters_is_taken_without_its_slash(name: str) -> None:
    assert names.check(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["", "a", "-a", ".a", "a b", "a/b", "//ab", "ä1", "ab\n", "ab\0"])
def test_anything_else_is_refused_in_dockers_words(name: str) -> None:
    with pytest.raises(InvalidParameter, match=re.escape(f"Invalid container name ({name}), only ")):
        names.check(name)


def test_a_random_name_is_a_name_of_dockers_form() -> None:
    for _ in range(200):
        assert re.fullmatch(r"[a-z]+_[a-z]+", names.check(names.random_name()))


def test_no_word_stands_twice() -> None:
    for words in (names.ADJECTIVES.split(), names.SURNAMES.split()):
        assert len(words) == len(set(words)) > 60


def test_a_taken_name_is_refused_with_its_owner() -> None:
    table = names.NameTable()
    table.reserve("web", "1" * 64)
    with pytest.raises(Conflict) as caught:
        table.reserve("web", "2" * 64)
    assert str(caught.value) == (
        f'Conflict. The container name "/web" is already in use by container "{"1" * 64}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    table.reserve("web", "1" * 64)  # its own name is no conflict


def test_only_the_owner_releases_a_name() -> None:
    table = names.NameTable()
    table.reserve("web", "one")
    table.release("web", "two")
    assert table.owner("web") == "one"
    table.release("web", "one")
    table.release("web", "one")
    assert table.owner("web") is None


def test_many_threads_never_share_a_name() -> None:
    table = names.NameTable()
    with ThreadPoolExecutor(8) as pool:
        given_names = list(pool.map(table.reserve_random, (str(number) for number in range(2000))))
    assert len(set(given_names)) == 2000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.booleans())))
def test_the_table_is_a_dictionary_in_which_the_first_wins(steps: list[tuple[str, str, bool]]) -> None:
    table, model = names.NameTable(), dict[str, str]()
    for name, owner, reserving in steps:
        if not reserving:
            table.release(name, owner)
            if model.get(name) == owner:
                del model[name]
        elif model.setdefault(name, owner) == owner:
            table.reserve(name, owner)
        else:
            with pytest.raises(Conflict):
                table.reserve(name, owner)
        assert {key: table.owner(key) for key in "ab"} == {key: model.get(key) for key in "ab"}
