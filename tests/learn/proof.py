"""Grade many files in one process and print the verdicts as JSON: `python proof.py CHAPTER < pieces.json`.

pytest's workers have threads, and the grader clones itself, so the tests run this in a process of its own.
`pieces.json` maps a name to a text; the answer maps it to {check: null or the words of the failure}.
"""

import json
import sys

from minidock.learn import chapters, grade, sandbox
from minidock.learn.piece import Piece

PATH = "/home/learner/mine.py"


def words(result: grade.Result) -> str | None:
    if result.passed:
        return None
    return f"expected {result.expected} | seen {result.seen} | look {result.look}"


def main() -> None:
    chapter = chapters.chapter(int(sys.argv[1]))
    pieces: dict[str, str] = json.load(sys.stdin)
    answer = {}
    with grade.grading(sandbox.Room(timeout=30)) as grader:
        for name, text in pieces.items():
            results = grader.grade(chapter, Piece(PATH, text))
            answer[name] = {result.check: words(result) for result in results}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
