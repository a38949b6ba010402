"""The chapters as pages: each chapter's README.md is copied below docs/learn/ when the pages are built.

A chapter stays where its grader and its mutants are; its links into the checkout are rewritten to links that
work on a page, and one that leads nowhere is an error.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from docs.made import source

CHAPTERS = source.CHECKOUT / "chapters"
TARGET = source.CHECKOUT / "docs" / "learn" / "_chapters"
LINK = re.compile(r"(?<!\!)\[([^\]]*)\]\(([^)\s]+)\)")
FUNCTION = re.compile(r"`(minidock(?:\.\w+)+:\w+)`")
log = logging.getLogger(__name__)


def readable() -> list[Path]:
    """Return the directories of the chapters that have a page."""
    return [path.parent for path in sorted(CHAPTERS.glob("[0-9]*/README.md"))]


def write_pages(_app: Sphinx) -> None:
    """Write the chapters' pages; a page whose chapter has gone is removed."""
    TARGET.mkdir(exist_ok=True)
    wanted = {f"{directory.name}.md": directory for directory in readable()}
    for path in TARGET.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, directory in wanted.items():
        text = page(directory)
        target = TARGET / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def page(directory: Path) -> str:
    """Return a chapter's page with its links rewritten, and functions that it names made links."""
    text = (directory / "README.md").read_text(encoding="utf-8")
    text = FUNCTION.sub(r"{fn}`\1`", text)
    return LINK.sub(lambda found: _rewritten(directory, found[1], found[2]), text)


def _rewritten(directory: Path, words: str, target: str) -> str:
    if "://" in target or target.startswith(("#", "mailto:")):
        return f"[{words}]({target})"
    path, _, anchor = target.partition("#")
    file = Path(os.path.normpath(directory / path))
    if not file.exists():
        log.warning("%s: the link to %s leads nowhere", directory.name, target)
        return words
    inside = file.relative_to(source.CHECKOUT)
    if file.name == "README.md" and file.parent.parent == CHAPTERS:
        return f"[{words}]({file.parent.name}.md{'#' + anchor if anchor else ''})"
    if inside.parts[0] == "docs" and file.suffix == ".md":
        return f"[{words}](../../{inside.relative_to('docs').as_posix()})"
    if inside.parts[0] == "minidock" and file.suffix == ".py":
        return f"{words} ({{fn}}`{'.'.join(inside.with_suffix('').parts)}`)"
    return f"{words} (`{inside}`)"
