"""Predict, then run: a question about what will happen, the experiment itself, and the score.

A chapter's predict.toml holds the questions; each experiment is a small program that runs in a sandbox, and
the last line it prints is the answer. So the page cannot promise what the machine does not do.
"""

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass

from minidock.kernel import cgroups
from minidock.learn import sandbox
from minidock.learn.chapters import Chapter


@dataclass(frozen=True)
class Question:
    """`code` is Python; `because` explains the answer."""

    ask: str
    choices: tuple[str, ...]
    code: str
    because: str


def questions(chapter: Chapter) -> list[Question]:
    """Return the chapter's questions."""
    path = chapter.directory / "predict.toml"
    if not path.exists():
        return []
    found = tomllib.loads(path.read_text())["question"]
    return [Question(q["ask"], tuple(q["choices"]), q["code"], q["because"]) for q in found]


def experiment(question: Question, group: cgroups.Cgroup, room: sandbox.Room) -> list[str]:
    """Run the experiment in a sandbox and return the lines it printed."""

    def inside(_records: int) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run(
            [sys.executable, "-c", question.code], env=environment, check=False, timeout=room.timeout
        )

    stay = sandbox.stay(inside, group, room)
    return stay.printed.strip().splitlines()
