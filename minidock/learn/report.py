"""Verdicts for a reader's eyes: what held, and for what did not: expected, seen, where to look."""

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from minidock.learn.chapters import Chapter
from minidock.learn.grade import Result

WIDTH = 108
PRINTED_LINES = 12
_RANDOM = r"[0-9a-f]{12}"  # as Bench.token makes them


def heading(chapter: Chapter) -> str:
    return f"Chapter {chapter.number}, {chapter.title}: {chapter.question}"


def tell(result: Result, before: Sequence[Result] = (), out: TextIO | None = None) -> None:
    """Print one verdict; of a failure that one `before` has explained, what was seen only."""
    out = out or sys.stdout
    out.write(f"  {'ok  ' if result.passed else 'FAIL'}  {result.about}\n")
    if result.passed:
        return
    words = {"expected": result.expected, "seen": result.seen, "look": result.look}
    if _cause(result) in [_cause(each) for each in before]:
        words = {"seen": f"{result.seen} (as above: mend that first)"}
    for word, text in words.items():
        if text:
            out.write(wrapped(f"{word:9}", text) + "\n")
    if result.printed.strip():
        out.write(_printed(result.printed.strip()) + "\n")


def _cause(result: Result) -> tuple[str, str]:
    """Return what failed and why, without the words that are random."""
    return re.sub(_RANDOM, "", result.seen), re.sub(_RANDOM, "", result.look)


def _printed(text: str) -> str:
    """Show the last lines of what was printed, line by line as it was; the mark says that there was more."""
    lines = text.splitlines()
    last = [line if len(line) <= WIDTH else f"{line[:WIDTH]}..." for line in lines[-PRINTED_LINES:]]
    if len(lines) > PRINTED_LINES:
        last.insert(0, f"(the last {PRINTED_LINES} of {len(lines)} lines)")
    return "\n".join(
        f"        {'printed' if number == 0 else '':9}{line}" for number, line in enumerate(last)
    )


def summary(results: Sequence[Result]) -> str:
    passed = sum(result.passed for result in results)
    return f"{passed} of {len(results)} checks hold"


def indented(text: str) -> str:
    return textwrap.indent(text, "    ")


def wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=" " * 8 + head,
        subsequent_indent=" " * (8 + len(head)),
        break_long_words=False,
        break_on_hyphens=False,
    )
