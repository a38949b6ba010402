"""What the `minidock learn` verbs do; the words on the command line are cli/learn.py's."""

import difflib
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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
    states = {number: _state(folder, each) for number, each in written.items()}
    print(f"Your folder: {folder.path}\n")
    print("   0  The walk: fifteen minutes with the engine")
    for number in sorted(written | chapters.PLANNED.keys() if written else chapters.PLANNED):
        chapter = written.get(number)
        if chapter is None:
            print(f"  {number:2}  {chapters.PLANNED[number]:{TITLE_WIDTH}} not written yet")
            continue
        title = f"{chapter.title}: {chapter.question}"
        print(f"  {number:2}  {title:{TITLE_WIDTH}} {states[number]}".rstrip())
    print(f"\nThe pages are in {chapters.directory()}; chapter 0 is 00-the-walk/README.md")
    return 0


def _state(folder: Folder, chapter: Chapter) -> str:
    record = folder.record(chapter)
    if record.get("passed"):
        return "passed"
    if record.get("has_passed"):
        return "passed, now failing"
    return "started" if folder.has_started(chapter) else ""


def start(folder: Folder, number: int) -> int:
    """Write the chapter's start file."""
    chapter = chapters.chapter(number)
    path = folder.start(chapter)
    print(f"{path} is yours now: write {', '.join(chapter.functions)}.")
    print(f"The page:   {_shortest(chapter.directory / 'README.md')}")
    print(f"Grade it:   {folder.command(f'check {number}', as_root=True)}")
    return 0


def _shortest(page: Path) -> Path:
    """Return the page's place in the checkout when one stands in it, else where it is installed."""
    here = Path(*page.parts[-3:])
    return here if here.is_file() else page


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
        raise InvalidParameter(f"nothing has been started yet: {folder.command('start 1')}")
    return started


def _check_one(folder: Folder, grader: grade.Grader, chapter: Chapter) -> bool:
    piece = folder.piece(chapter)
    print(report.heading(chapter))
    began, checks = time.monotonic(), chapter.checks()
    results: list[grade.Result] = []
    unreadable = grade.unreadable(piece) or grader.unloadable(chapter, piece)
    if unreadable is not None:  # once, and not as every check's failure
        report.tell(unreadable)
        print(f"  0 of {len(checks)} checks hold")
        _keep_score(folder, chapter, piece, False)
        return False
    for each in checks:
        result = grader.run(chapter, piece, each)
        report.tell(result, results)
        results.append(result)
    passed = bool(results) and all(result.passed for result in results)
    print(f"  {report.summary(results)} ({time.monotonic() - began:.1f} s)")
    if passed:
        command = folder.command(f"run --with {chapter.number} -- {chapter.show}", as_root=True)
        print(f"  Run it for real: {command}")
    _keep_score(folder, chapter, piece, passed)
    return passed


def _keep_score(folder: Folder, chapter: Chapter, piece: Piece, passed: bool) -> None:
    """Remember the verdict; that a chapter has passed once is never forgotten."""
    before = folder.record(chapter)
    ever = passed or bool(before.get("passed")) or bool(before.get("has_passed"))
    folder.remember(chapter, passed=passed, has_passed=ever, graded=_fingerprint(piece))


def _fingerprint(piece: Piece) -> str:
    return hashlib.sha256(piece.text.encode()).hexdigest()


def hint(folder: Folder, number: int, chosen: str | None) -> int:
    """Print the next of the three hints for a step, chosen by number or by its function's name.

    Default: the first function that is not written. When the third has been given, all three come again.
    """
    chapter = chapters.chapter(number)
    step = _step(chapter, chosen) if chosen is not None else _unwritten_step(folder, chapter)
    hints = chapter.hints[step - 1]
    levels: dict[str, int] = folder.record(chapter).get("hints", {})
    given = levels.get(str(step), 0)
    for shown in range(len(hints)) if given >= len(hints) else [given]:
        print(f"Step {step}, hint {shown + 1} of {len(hints)}: {hints[shown]}")
    others = [name for name in chapter.functions if name != chapter.functions[step - 1]]
    if given in (0, len(hints)) and others:
        print(f"(For another function say which: {folder.command(f'hint {number} {others[0]}')})")
    folder.remember(chapter, hints={**levels, str(step): min(given + 1, len(hints))})
    return 0


def _step(chapter: Chapter, chosen: str) -> int:
    names = chapter.functions
    if chosen in names:
        return names.index(chosen) + 1
    if chosen.isdecimal() and 1 <= int(chosen) <= len(names):
        return int(chosen)
    steps = ", ".join(f"{number} or {name}" for number, name in enumerate(names, 1))
    raise InvalidParameter(f"chapter {chapter.number} has no step {chosen}; its steps are {steps}")


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
    path, seen = Path(folder.piece(chapter).path), 0
    with grade.grading() as grader:
        while True:
            # An editor that saves by renaming takes the file away for a moment.
            now = path.stat().st_mtime_ns if path.exists() else seen
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
    sandbox.need_root()
    exercise = breaking.exercise(chapter, chosen, random.Random())
    print(f"Somebody changed one of these functions of the engine:\n\n{report.indented(exercise.original)}")
    print("These are the symptoms:\n")
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
    print(f"It had become:\n{report.indented(exercise.mutant.became() or '(nothing: it was left out)')}")
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
        print(f"  That is none of them: answer with a letter from a to {chr(96 + len(choices))}.")


def run(folder: Folder, numbers: Sequence[int], command: Sequence[str]) -> int:
    """Run `command` (or wait) with an engine that has the learner's functions; return its exit code."""
    swapped = [swap.Swapped(chapter, folder.piece(chapter)) for chapter in map(chapters.chapter, numbers)]
    for each in swapped:
        _refuse_unfit(each)
    if os.geteuid() != 0:
        raise Unavailable("the engine needs root: run it with sudo")
    for each in swapped:
        _warn_before_check(folder, each)
    with swap.PrivateEngine(swapped) as engine:
        print(f"DOCKER_HOST={engine.host}", file=sys.stderr, flush=True)
        code = _run_command(engine.host, command)
        sys.stdout.flush()
        for name, (calls, pid) in engine.proof().items():
            said = f"ran {calls} times, last in process {pid}" if calls else "was not called"
            why = "" if calls else _why_not_called(name, swapped)
            print(f"canary: your {name} {said} inside the engine{why}", file=sys.stderr)
        for failure in engine.failures():
            print(f"canary: your {failure}", file=sys.stderr)
    return code


def _why_not_called(name: str, swapped: Sequence[swap.Swapped]) -> str:
    """Say which chapter leads the engine round a function, "" when none does."""
    for each in swapped:
        road = each.chapter.road[0] if each.chapter.road else ""
        if name not in each.names and road.partition(":")[0] == name.partition(":")[0]:
            number = each.chapter.number
            return f": --with {number} has it enter the root another way; leave that out to see this one run"
    return ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _refuse_unfit(swapped: swap.Swapped) -> None:
    """Refuse a file that is not Python, or that is not finished."""
    piece = swapped.piece
    unreadable = grade.unreadable(piece)
    if unreadable is not None:
        raise InvalidParameter(f"{unreadable.seen}; {unreadable.look}")
    unwritten = source.unwritten(piece.text, swapped.chapter.functions)
    if unwritten:
        raise InvalidParameter(f"you have not written {_listed(unwritten)} yet: edit {piece.path}")


def _warn_before_check(folder: Folder, swapped: swap.Swapped) -> None:
    """Say it when a file has not passed its checks as it is now."""
    chapter, piece = swapped.chapter, swapped.piece
    record = folder.record(chapter)
    if record.get("passed") and record.get("graded") == _fingerprint(piece):
        return
    print(
        f"{piece.path} has not passed its checks as it is now, so what follows may be wrong without a word: "
        f"{folder.command(f'check --only {chapter.number}', as_root=True)}",
        file=sys.stderr,
    )


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
