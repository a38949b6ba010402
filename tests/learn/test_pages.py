"""The chapters' pages are true: every console block prints what it shows, every reference leads somewhere.

A page's blocks are run in order, in one directory, with an engine behind DOCKER_HOST and an empty home.
Between them, comments of the page act for the reader: `<!-- solve N -->` finishes chapter N's file, and
`<!-- terminal -->` above a block says that it is typed into a terminal.
"""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from minidock.learn import chapters, source
from setup.stage import Stage
from tests.pages import perform_block
from tests.transcript import Ids

PAGES = sorted(chapters.directory().glob("*/README.md"))
HEADINGS = (
    "Look at what Docker does",
    "Predict",
    "Build",
    "Check",
    "Break it",
    "Explain",
    "Where it is done for real",
)
PART = re.compile(
    r"^(?:<!-- (terminal) -->\n)?```console\n(.*?)^```|^<!-- solve (\d+) -->$", re.MULTILINE | re.DOTALL
)


def name(page: Path) -> str:
    return page.parent.name


def perform(text: str, stage: Stage, directory: Path) -> int:
    """Run the blocks of a page; return how many commands that were. Fails with what differs."""
    ids, count = Ids(), 0
    for terminal, block, solved in PART.findall(text):
        if solved:
            chapter = chapters.chapter(int(solved))
            (stage.directory / "minidock-learn" / f"{chapter.name}.py").write_text(source.solution(chapter))
        else:
            count += perform_block(block, stage, directory, ids, "", is_terminal=bool(terminal))
    return count


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_console_block_prints_what_the_page_shows(page: Path, stage: Stage, tmp_path: Path) -> None:
    assert perform(page.read_text(), stage, tmp_path) > 5


def test_a_page_that_promises_something_else_fails(stage: Stage, tmp_path: Path) -> None:
    assert perform("```console\n$ echo one\none\n```\n", stage, tmp_path) == 1
    assert perform("No blocks at all.\n", stage, tmp_path) == 0
    with pytest.raises(pytest.fail.Exception, match="but the page shows"):
        perform("```console\n$ echo one\ntwo\n```\n", stage, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_function_that_is_named_exists(page: Path) -> None:
    for module, function in re.findall(r"`(minidock(?:\.\w+)+):(\w+)`", page.read_text()):
        assert callable(getattr(importlib.import_module(module), function)), f"{module}:{function}"


@pytest.mark.parametrize("chapter", chapters.written(), ids=lambda chapter: chapter.name)
def test_a_chapter_has_all_its_parts(chapter: chapters.Chapter) -> None:
    text = (chapter.directory / "README.md").read_text()
    assert [heading for heading in HEADINGS if f"## {heading}\n" not in text] == []
    assert all(seam.function in text for seam in chapter.seams)
    assert f"minidock learn figure {chapter.number}" in text
    assert len(chapter.hints) == len(chapter.seams)
    assert all(len(levels) == 3 for levels in chapter.hints)
    assert tomllib.loads((chapter.directory / "predict.toml").read_text())["question"]


def test_the_chapters_are_those_of_the_plan() -> None:
    written = [chapter.number for chapter in chapters.written()]
    assert sorted([*written, *chapters.PLANNED]) == list(range(1, 17))
