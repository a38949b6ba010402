"""Break it on purpose: one small bug in the solution, its symptoms, and two questions: which line, and why?

The bug is one of the mutants that prove the grader; the false answers are other lines of the same file and
the explanations of its other bugs.
"""

import ast
import random
from dataclasses import dataclass

from minidock.learn import mutants, source
from minidock.learn.chapters import Chapter

CHOICES = 4


@dataclass(frozen=True)
class Exercise:
    """A broken solution, and two questions with shuffled candidates."""

    mutant: mutants.Mutant
    text: str
    lines: tuple[str, ...]
    whys: tuple[str, ...]

    def score(self, line: str, why: str) -> int:
        """Return 0 to 2: one point for the line, one for the reason."""
        return int(line == self.mutant.changed_line()) + int(why == self.mutant.why)


def exercise(chapter: Chapter, chosen: str | None, chance: random.Random) -> Exercise:
    """Take a mutant of the chapter, by name or by chance."""
    found = mutants.load(chapter)
    mutant = next((each for each in found if each.name == chosen), None) or chance.choice(found)
    right = mutant.changed_line()
    lines = [line for line in _code_lines(source.solution(chapter)) if line != right]
    whys = [each.why for each in found if each.name != mutant.name]
    candidates = [right, *chance.sample(lines, min(CHOICES - 1, len(lines)))]
    reasons = [mutant.why, *chance.sample(whys, min(CHOICES - 1, len(whys)))]
    chance.shuffle(candidates)
    chance.shuffle(reasons)
    return Exercise(mutant, mutants.mutated(chapter, mutant), tuple(candidates), tuple(reasons))


def _code_lines(text: str) -> list[str]:
    """Return the first line of every statement inside a function, docstrings left out."""
    lines = text.splitlines()
    found: list[str] = []
    for function in (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)):
        inner = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
        documented = function.body[0] if ast.get_docstring(function) is not None else None
        found += [lines[node.lineno - 1].strip() for node in inner if node is not documented]
    return list(dict.fromkeys(found))
