"""The pages are true: every console block prints what it shows, and every reference leads somewhere."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from minidock.learn import chapters

HERE = Path(__file__).resolve().parent
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


def name(page: Path) -> str:
    return page.parent.name


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_console_block_prints_what_the_page_shows(page: Path) -> None:
    answer = subprocess.run(
        [sys.executable, str(HERE / "page.py"), str(page)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_page_that_promises_something_else_fails(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    answer = subprocess.run(
        [sys.executable, str(HERE / "page.py"), str(page)], capture_output=True, check=False
    )
    assert answer.returncode != 0
    page.write_text("No blocks at all.\n")
    answer = subprocess.run(
        [sys.executable, str(HERE / "page.py"), str(page)], capture_output=True, check=False
    )
    assert answer.returncode != 0


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
