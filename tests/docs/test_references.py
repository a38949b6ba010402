"""What the pages name is there: functions, tests, files, pages; and every page is read at all.

Sphinx finds the same when it builds, with warnings as errors; these need no Sphinx and take a second.
"""

import re
from pathlib import Path

import pytest

from docs.made import source, transcript

DOCS = transcript.DOCS
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "_chapters"} & set(path.parts))
ROLE = re.compile(r"\{(fn|test|file-of)\}`([^`]+)`")
LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")


def references(kind: str) -> list[tuple[Path, str]]:
    return [
        (page, found[2]) for page in PAGES for found in ROLE.finditer(page.read_text()) if found[1] == kind
    ]


def dead_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page to files that are not there (pages made at build time aside)."""
    found = []
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        path = target.partition("#")[0]
        if "://" in target or not path or "_chapters" in path:
            continue
        if not (page.parent / path).exists():
            found.append(target)
    return found


def test_every_function_that_a_page_names_is_in_the_source() -> None:
    named = references("fn")
    assert len(named) > 50
    for page, reference in named:
        assert source.resolve(reference).module, page


def test_every_test_that_a_page_names_as_proof_exists() -> None:
    named = references("test")
    assert len(named) > 30
    for page, reference in named:
        assert source.resolve_test(reference).is_file(), page


def test_every_link_leads_to_a_page() -> None:
    assert len(PAGES) > 25
    assert {
        page.name: dead_links(page, page.read_text()) for page in PAGES if dead_links(page, page.read_text())
    } == {}


@pytest.mark.parametrize(
    "reference",
    [
        "minidock.runtime.root:no_such_function",
        "minidock.no_such_module:main",
        "os:getpid",
        "minidock.runtime.root:",
    ],
)
def test_a_function_that_is_not_there_is_found(reference: str) -> None:
    if reference.endswith(":"):
        assert source.resolve(reference).kind == "module"
        return
    with pytest.raises(source.UnknownReference):
        source.resolve(reference)


@pytest.mark.parametrize("reference", ["tests/docs/test_references.py::test_nope", "tests/nope.py::test_x"])
def test_a_test_that_is_not_there_is_found(reference: str) -> None:
    with pytest.raises(source.UnknownReference):
        source.resolve_test(reference)


def test_a_dead_link_is_found() -> None:
    assert dead_links(DOCS / "index.md", "[a](nowhere.md) [b](learn/index.md) [c](https://x.y)") == [
        "nowhere.md"
    ]


def test_every_package_has_its_page_in_the_python_reference() -> None:
    pages = {path.stem for path in (DOCS / "reference" / "python").glob("*.md")}
    assert set(source.packages()) <= pages


def test_no_promise_of_the_threat_model_stands_without_its_proof() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", (DOCS / "threat-model.md").read_text(), re.MULTILINE)
    promises = [row for row in rows if row[0].endswith(".")]
    assert len(promises) >= 20
    assert [promise for promise, proof in promises if "{test}" not in proof] == []
