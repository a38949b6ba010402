"""What the `minidock learn` verbs do; the words on the command line are cli/learn.py's."""

import difflib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence

from minidock.errors import InvalidParameter, Unavailable
from minidock.learn import breaking, chapters, figures, grade, predict, report, sandbox, source, swap
from minidock.learn.chapters import Chapter
from minidock.learn.folder import Folder
from minidock.learn.piece import Piece

WATCH_SECONDS = 0.3
TITLE_WIDTH = 72


def show_list(folder: Folder) -> int:
    """Print all sixteen chapters and how far the learner is."""
    written = {chapter.number: chapter for chapter in chapters.written()}
    print(f"Your folder: {folder.path}\n")
    print(f"   0  The walk: fifteen minutes with the engine ({chapters.directory()}/00-the-walk/README.md)")
    for number in sorted(written | chapters.PLANNED.keys() if written else chapters.PLANNED):
        chapter = written.get(number)
        if chapter is None:
            print(f"  {number:2}  {chapters.PLANNED[number]:{TITLE_WIDTH}} not written yet")
            continue
        record = folder.record(chapter)
        state = "passed" if record.get("passed") else "started" if folder.has_started(chapter) else ""
        title = f"{chapter.title}: {chapter.question}"
        print(f"  {number:2}  {title:{TITLE_WIDTH}} {state}".rstrip())
    return 0


def start(folder: Folder, number: int) -> int:
    """Write the chapter's start file."""
    chapter = chapters.chapter(number)
    path = folder.start(chapter)
    print(f"{path} is yours now: write {', '.join(chapter.functions)}.")
    print(f"The page:   {chapter.directory / 'README.md'}")
    print(f"Grade it:   sudo minidock learn check {number}")
    return 0


def check(folder: Folder, number: int | None, only: int | None) -> int:
    """Grade chapters 1 to `number` (default: all that were started), or `only` one; 1 when a check fails."""
    chosen = _to_grade(folder, number, only)
    good = True
    with grade.grading() as grader:
        for chapter in chosen:
            good = _check_one(folder, grader, chapter) and good
    return 0 if good else 1


def _to_grade(folder: Folder, number: int | None, only: int | None) -> list[Chapter]:
    if only is not None:
        return [chapters.chapter(only)]
    if number is not None:
        return [each for each in chapters.written() if each.number <= chapters.chapter(number).number]
    started = [each for each in chapters.written() if folder.has_started(each)]
    if not started:
        raise InvalidParameter("nothing has been started yet: minidock learn start 1")
    return started


def _check_one(folder: Folder, grader: grade.Grader, chapter: Chapter) -> bool:
    piece = folder.piece(chapter)
    print(report.heading(chapter))
    began, results = time.monotonic(), []
    for each in chapter.checks():
        results.append(grader.run(chapter, piece, each))
        report.tell(results[-1])
    passed = bool(results) and all(result.passed for result in results)
    print(f"  {report.summary(results)} ({time.monotonic() - began:.1f} s)")
    if passed:
        print(
            f"  Run it for real: sudo minidock learn run --with {chapter.number} -- "
            "docker run --rm hostbox echo hi"
        )
    folder.remember(chapter, passed=passed)
    return passed


def hint(folder: Folder, number: int, step: int | None) -> int:
    """Print the next of the three hints for a step (default: the first function that is not written)."""
    chapter = chapters.chapter(number)
    step = step or _unwritten_step(folder, chapter)
    if not 1 <= step <= len(chapter.hints):
        raise InvalidParameter(f"chapter {number} has steps 1 to {len(chapter.hints)}")
    record = folder.record(chapter)
    levels: dict[str, int] = record.get("hints", {})
    level = min(levels.get(str(step), 0) + 1, len(chapter.hints[step - 1]))
    for shown in range(level):
        print(f"Step {step}, hint {shown + 1} of 3: {chapter.hints[step - 1][shown]}")
    folder.remember(chapter, hints={**levels, str(step): level})
    return 0


def _unwritten_step(folder: Folder, chapter: Chapter) -> int:
    if not folder.has_started(chapter):
        return 1
    unwritten = source.unwritten(folder.piece(chapter).text, chapter.functions)
    return chapter.functions.index(unwritten[0]) + 1 if unwritten else 1


def diff(folder: Folder, number: int) -> int:
    """Print how the learner's file differs from the engine's own functions."""
    chapter = chapters.chapter(number)
    mine, engine = folder.piece(chapter).text, source.solution(chapter)
    lines = difflib.unified_diff(mine.splitlines(), engine.splitlines(), "yours", "the engine's", lineterm="")
    print("\n".join(lines) or "Your file is the engine's, line by line.")
    return 0


def figure(number: int) -> int:
    """Draw the chapter's figure from a live sandbox."""
    print(figures.draw(chapters.chapter(number)))
    return 0


def watch(folder: Folder, number: int) -> int:
    """Grade the chapter whenever its file is saved, until everything holds or ctrl-c."""
    chapter = chapters.chapter(number)
    path, seen = folder.file(chapter), 0
    with grade.grading() as grader:
        while True:
            now = os.stat(path).st_mtime_ns
            if now != seen:
                seen = now
                if _check_one(folder, grader, chapter):
                    return 0
                print(f"  ... waiting for {path} to be saved (ctrl-c ends)", flush=True)
            time.sleep(WATCH_SECONDS)


def predict_chapter(folder: Folder, number: int) -> int:
    """Ask what will happen, run it, and keep the score."""
    chapter = chapters.chapter(number)
    right = 0
    asked = predict.questions(chapter)
    room = sandbox.Room(timeout=30)
    with sandbox.limits(room) as group:
        for question in asked:
            print(f"\n{question.ask}")
            answer = _choose(question.choices)
            lines = predict.experiment(question, group, room)
            print("\n".join(f"    | {line}" for line in lines))
            happened = lines[-1] if lines else ""
            right += answer == happened
            print(f"  {'Yes' if answer == happened else 'No'}: {question.because}")
    print(f"\n{right} of {len(asked)} predicted.")
    folder.remember(chapter, predicted=f"{right}/{len(asked)}")
    return 0


def break_chapter(folder: Folder, number: int, chosen: str | None) -> int:
    """Show the symptoms of a bug and ask for the line and the reason."""
    chapter = chapters.chapter(number)
    exercise = breaking.exercise(chapter, chosen, random.Random())
    print(f"Somebody changed the engine's {', '.join(chapter.functions)}. These are the symptoms:\n")
    with grade.grading() as grader:
        for result in grader.grade(chapter, Piece("broken.py", exercise.text)):
            if not result.passed:
                print(f"  FAIL  {result.about}")
                print(
                    report.wrapped("expected ", result.expected)
                    + "\n"
                    + report.wrapped("seen     ", result.seen)
                )
    print("\nWhich line was changed?")
    line = _choose(exercise.lines)
    print("And what is wrong?")
    why = _choose(exercise.whys)
    score = exercise.score(line, why)
    print(f"\n{score} of 2. The line: {exercise.mutant.changed_line()}\nThe reason: {exercise.mutant.why}")
    folder.remember(chapter, broken={**folder.record(chapter).get("broken", {}), exercise.mutant.name: score})
    return 0


def _choose(choices: Sequence[str]) -> str:
    for index, choice in enumerate(choices):
        print(f"  {chr(97 + index)}) {choice}")
    while True:
        sys.stdout.write("Your answer: ")
        sys.stdout.flush()
        answer = sys.stdin.readline()
        if not answer:
            raise Unavailable("no answer came: this verb asks questions on its standard input")
        letter = answer.strip().lower()
        if len(letter) == 1 and 0 <= ord(letter) - 97 < len(choices):
            return choices[ord(letter) - 97]


def run(folder: Folder, numbers: Sequence[int], command: Sequence[str]) -> int:
    """Run `command` (or wait) with an engine that has the learner's functions; return its exit code."""
    swapped = [swap.Swapped(chapter, folder.piece(chapter)) for chapter in map(chapters.chapter, numbers)]
    for each in swapped:
        unwritten = source.unwritten(each.piece.text, each.chapter.functions)
        if unwritten:
            raise InvalidParameter(f"you have not written {_listed(unwritten)} yet: edit {each.piece.path}")
    if os.geteuid() != 0:
        raise Unavailable("the engine needs root: run it with sudo")
    with swap.PrivateEngine(swapped) as engine:
        print(f"DOCKER_HOST={engine.host}", file=sys.stderr, flush=True)
        code = _run_command(engine.host, command)
        sys.stdout.flush()
        for name, (calls, pid) in engine.proof().items():
            said = f"ran {calls} times, last in process {pid}" if calls else "was not called"
            print(f"canary: your {name} {said} inside the engine", file=sys.stderr)
    return code


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _run_command(host: str, command: Sequence[str]) -> int:
    if not command:
        print("Use it from another terminal; ctrl-c ends it.", file=sys.stderr, flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0
    try:
        ended = subprocess.run(command, env={**os.environ, "DOCKER_HOST": host}, check=False).returncode
    except OSError as error:
        raise InvalidParameter(f"cannot run {command[0]}: {error.strerror}") from error
    return ended if ended >= 0 else 128 - ended
