"""The README's examples are run as they stand, so that what a newcomer copies works.

A block is run when the comment `tested` stands above it. How its output is compared: tests/transcript.py.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.made import served
from docs.made.transcript import steps
from minidock.cli.commands import COMMON, VERBS
from setup.stage import Stage
from tests.pages import stage_for_pages
from tests.transcript import agrees

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"<!-- tested -->\n```(\w+)\n(.*?)```", re.DOTALL)
CONCEPTS = {"namespaces", "cgroups", "layers", "images", "repositories", "registry", "volumes", "port NAT"}


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(README.read_text()) if found == language]


@pytest.fixture(scope="module")
def stage(docker_clients: list[str]) -> Iterator[Stage]:
    assert docker_clients, "./test unpacks a docker client"
    with stage_for_pages(docker_clients[0]) as engine:
        yield engine


@pytest.mark.parametrize("block", blocks("console"))
def test_a_transcript_shows_what_really_happens(block: str, stage: Stage) -> None:
    for command, expected in steps(block):
        answer = subprocess.run(
            ["sh", "-c", command], env=stage.environment(), capture_output=True, text=True, check=False
        )
        assert agrees(expected, answer.stdout), f"$ {command}\n{answer.stdout}{answer.stderr}"


@pytest.mark.parametrize("block", blocks("python"))
def test_an_example_runs_alone(block: str, tmp_path: Path) -> None:
    assert len(block.splitlines()) <= 3
    own = block.replace("/var/tmp/minidock-example", str(tmp_path)).replace(
        "/minidock-example", f"/minidock-example-{os.getpid()}"
    )
    answer = subprocess.run(
        ["unshare", "--mount", sys.executable, "-B", "-c", own], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_readme_and_help_agree_on_what_is_not_built_yet() -> None:
    assert ("not built yet" in VERBS["pull"][1]) == (not served.is_served("registry"))
    assert ("pull" in COMMON) == served.is_served("registry")
    assert ("registries (`pull`" in README.read_text().partition("Not\nyet:")[2]) == (
        not served.is_served("registry")
    )


def test_the_chapters_are_named_at_the_beginning() -> None:
    """Who reads the front page only must learn that there is a course."""
    text = README.read_text()
    assert "minidock learn list" in text.partition("\n## ")[0]
    reading = text.partition("## Where to start reading")[2].partition("\n### ")[0]
    pages = [path.relative_to(README.parent) for path in README.parent.glob("chapters/*/README.md")]
    assert pages
    assert [page for page in map(str, pages) if f"({page})" not in reading] == []


def test_each_concept_word_names_one_module_that_exists_or_says_that_it_does_not_yet() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| \[?`(minidock/[^`]+)`[^|]*\| ([^|]+) \|$", README.read_text(), re.MULTILINE
    )
    assert {word.split(" (")[0] for word, _, _ in rows} == CONCEPTS
    for _, module, note in rows:
        assert (README.parent / module).exists() == (note != "not built yet"), module


def test_the_readme_has_a_tested_transcript_and_an_example_for_every_built_concept() -> None:
    built = README.read_text().count("[example](#")
    assert len(blocks("console")) >= 1
    assert len(blocks("python")) == built
