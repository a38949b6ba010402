"""Break it on purpose: one small bug in the solution, its symptoms, and two questions: which line, and why?

The bug is one of the mutants that prove the grader; the false answers are other lines of the same file and
the explanations of its other bugs.
"""

import ast
import random
from dataclasses import dataclass

from minidock.errors import NotFound
from minidock.learn import mutants, source
from minidock.learn.chapters import Chapter

CHOICES = 4


@dataclass(frozen=True)
class Exercise:
    """A broken solution, and two questions with shuffled candidates."""

    mutant: mutants.Mutant
    original: str  # the functions as the engine has them
    text: str
    lines: tuple[str, ...]
    whys: tuple[str, ...]

    def score(self, line: str, why: str) -> int:
        """Return 0 to 2: one point for the line, one for the reason."""
        return int(line == self.mutant.changed_line()) + int(why == self.mutant.why)


def exercise(chapter: Chapter, chosen: str | None, chance: random.Random) -> Exercise:
    """Take a mutant of the chapter, by its number, by name or by chance; NotFound when there is none."""
    found = mutants.load(chapter)
    names = {str(number): each for number, each in enumerate(found, 1)} | {each.name: each for each in found}
    if chosen is not None and chosen not in names:
        raise NotFound(
            f"chapter {chapter.number} has no bug {chosen}: choose one from 1 to {len(found)}, or none, and "
            "it is taken by chance"
        )
    mutant = chance.choice(found) if chosen is None else names[chosen]
    right = mutant.changed_line()
    changed = {line.strip() for line in mutant.before.splitlines()}  # any of them would be right
    lines = [line for line in _code_lines(source.solution(chapter)) if line not in changed]
    whys = [each.why for each in found if each.name != mutant.name]
    candidates = [right, *chance.sample(lines, min(CHOICES - 1, len(lines)))]
    reasons = [mutant.why, *chance.sample(whys, min(CHOICES - 1, len(whys)))]
    chance.shuffle(candidates)
    chance.shuffle(reasons)
    original = "\n\n".join(source.cut(chapter, seam).text for seam in chapter.seams)
    return Exercise(mutant, original, mutants.mutated(chapter, mutant), tuple(candidates), tuple(reasons))


def _code_lines(text: str) -> list[str]:
    """Return the first line of every statement inside a function, docstrings left out."""
    lines = text.splitlines()
    found: list[str] = []
    for function in (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)):
        inner = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
        documented = function.body[0] if ast.get_docstring(function) is not None else None
        found += [lines[node.lineno - 1].strip() for node in inner if node is not documented]
    return [line for line in dict.fromkeys(found) if line not in mutants.BARE]
