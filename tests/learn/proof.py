"""Grade many files in one process, print the verdicts as JSON: `-m tests.learn.proof CHAPTER < pieces.json`.

pytest's workers have threads, and the grader clones itself, so the tests run this in a process of its own.
`pieces.json` maps a name to a text; the answer maps it to {check: null or the words of the failure}. For a
deletion or an impostor one failure is enough, so the grading of it ends there.
"""

import json
import sys
from collections.abc import Iterator

from minidock.learn import chapters, grade
from minidock.learn.piece import Piece

PATH = "/home/learner/mine.py"


def words(result: grade.Result) -> str | None:
    if result.passed:
        return None
    return f"expected {result.expected} | seen {result.seen} | look {result.look}"


def until_one_fails(
    grader: grade.Grader, chapter: chapters.Chapter, piece: Piece, checks: list[grade.Check]
) -> Iterator[grade.Result]:
    """Yield the results up to the first failure; its check comes first from then on: neighbours share it."""
    for check in tuple(checks):
        result = grader.run(chapter, piece, check)
        yield result
        if not result.passed:
            checks.remove(check)
            checks.insert(0, check)
            return


def main() -> None:
    chapter = chapters.chapter(int(sys.argv[1]))
    pieces: dict[str, str] = json.load(sys.stdin)
    answer, checks = {}, chapter.checks()
    with grade.grading() as grader:
        for name, text in pieces.items():
            piece, kind = Piece(PATH, text), name.partition(":")[0]
            short = kind in ("deletion", "impostor")
            results = (
                until_one_fails(grader, chapter, piece, checks) if short else grader.grade(chapter, piece)
            )
            answer[name] = {result.check: words(result) for result in results}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
