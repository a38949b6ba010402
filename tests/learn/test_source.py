"""Start files: all that a reader needs is named in their heads, in words."""

import ast
import re

import pytest

from minidock.learn import chapters, source


def head(chapter: chapters.Chapter) -> str:
    return ast.get_docstring(ast.parse(source.start(chapter))) or ""


@pytest.mark.parametrize("chapter", chapters.written(), ids=lambda chapter: chapter.name)
def test_every_constant_is_handed_over_with_words(chapter: chapters.Chapter) -> None:
    entries = re.findall(r"^  ([\w.]*\b[A-Z][A-Z_]+): (.+)$", head(chapter), re.MULTILINE)
    assert all(" " in words for _name, words in entries), entries
    assert "constants:" not in head(chapter)


def test_the_constants_that_a_contract_names_are_handed_over_too() -> None:
    """Slave and private are both right in chapter 3; the engine's own function has only one of them."""
    said = head(chapters.chapter(3))
    assert "mounts.MS_SLAVE: hears of the mounts" in said
    assert "mounts.MS_PRIVATE: neither hears" in said
    assert "FIRST_BESIDE_STREAMS: after standard input, output and error" in head(chapters.chapter(1))


def test_a_function_that_is_there_twice_is_found_where_python_finds_it() -> None:
    assert source.line_of("def f():\n    pass\n\n\ndef f():\n    pass\n", "f") == 5
    assert source.line_of("def f(:", "f") == 1
