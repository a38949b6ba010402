"""Names in their order, however few are looked at in one go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.storage import names
from minidock.storage.names import OrderedNames, forget_many

FOUND = st.lists(st.text("ab\udcff/é", min_size=1, max_size=3), max_size=12)


@given(FOUND, st.integers(1, 5), st.integers(1, 3), st.sets(st.integers(0, 12)))
def test_every_name_comes_once_and_in_order(
    found: list[str], at_once: int, kept: int, forgets_at: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "NAMES_AT_ONCE", at_once)
        patch.setattr(names, "KEPT_NAMES", kept)
        left = OrderedNames()
        seen: list[str] = []
        while True:
            if len(seen) in forgets_at:
                left.forget()
            name = left.pop()
            if name is not None:
                seen.append(name)
            elif left.has_more:
                left.take(found)
                assert len(left) <= at_once
            else:
                break
        assert seen == sorted(set(found))


def test_directories_on_the_way_down_keep_a_few_names_only_when_there_are_too_many() -> None:
    deep = [OrderedNames() for _ in range(20)]
    for each in deep:
        each.take(f"{number:06}" for number in range(1000))
    forget_many(deep)
    assert sum(map(len, deep)) == 20_000
    deep[0].take(f"{number:06}" for number in range(5000))
    forget_many(deep)
    assert sum(map(len, deep)) == 20 * names.KEPT_NAMES
    assert [deep[0].pop() for _ in range(2)] == ["001000", "001001"]
