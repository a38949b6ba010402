"""Mutants: small, realistic bugs, each a few lines changed in the solution.

They prove the grader (each must fail, with a message that names the step) and they are the exercises of
`learn break`. A mutant is a TOML file; it says what to change by the text itself, so that it breaks loudly
when the engine's function changes.
"""

from __future__ import annotations

import textwrap
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from minidock.errors import Damaged
from minidock.learn import source
from minidock.learn.chapters import Chapter

BARE = ("try:", "finally:", "else:")


@dataclass(frozen=True)
class Mutant:
    """`why` explains the bug, `clue` is a word of the message by which a reader knows the faulty step."""

    name: str
    function: str
    before: str
    after: str
    why: str
    clue: str
    harmless_to_host: bool = False  # a canary: it tries to do harm, and must fail like any other

    def in_whole_lines(self, solution: str) -> Mutant:
        """Return the same bug with `before` and `after` made up to whole lines of the solution."""
        begin = solution.find(self.before)
        if begin < 0:
            return self
        end = begin + len(self.before)
        line_end = f"{solution}\n".index("\n", end - 1)
        head, tail = solution[solution.rfind("\n", 0, begin) + 1 : begin], solution[end:line_end]
        return replace(self, before=f"{head}{self.before}{tail}", after=f"{head}{self.after}{tail}")

    def applied(self, text: str) -> str:
        """Return the solution with the bug in it."""
        if text.count(self.before) != 1:
            raise Damaged(
                f"mutant {self.name}: its `before` stands {text.count(self.before)} times in the solution"
            )
        return text.replace(self.before, self.after)

    def changed_line(self) -> str:
        """Return the first line of the solution that the bug changes; `try:` alone says nothing."""
        after = self.after.splitlines()
        for line in self.before.splitlines():
            if line not in after and line.strip() not in BARE:
                return line.strip()
        return self.before.splitlines()[0].strip()

    def became(self) -> str:
        """Return the lines that the bug puts in the place of the old ones; none where it only leaves out."""
        before = self.before.splitlines()
        new = [line for line in self.after.splitlines() if line not in before and line.strip() != "pass"]
        return textwrap.dedent("\n".join(new)).strip("\n")


def load(chapter: Chapter) -> list[Mutant]:
    """Return the chapter's mutants by name, each in whole lines of the solution."""
    solution = source.solution(chapter)
    found = sorted((chapter.directory / "mutants").glob("*.toml"))
    return [_read(path).in_whole_lines(solution) for path in found]


def mutated(chapter: Chapter, mutant: Mutant) -> str:
    """Return the chapter's solution with the bug in it."""
    return mutant.applied(source.solution(chapter))


def _read(path: Path) -> Mutant:
    data = tomllib.loads(path.read_text())
    return Mutant(name=path.stem, **data)
