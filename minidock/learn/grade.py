"""Grading: every check in a fresh sandbox of its own, with random inputs, and a message for each that fails.

A check that wrecks its sandbox therefore cannot spoil the next one's. No network, nothing to install, and a
few hundredths of a second each.
"""

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minidock.errors import MinidockError
from minidock.kernel import cgroups
from minidock.learn import diagnose, sandbox
from minidock.learn.bench import IMPATIENCE, PATIENCE, Bench
from minidock.learn.chapters import Chapter
from minidock.learn.piece import Piece
from minidock.learn.wrong import Wrong

Check = Callable[[Bench], None]
ENOUGH = 2  # checks of one file that have waited in vain: the others are not waited for as long


@dataclass(frozen=True)
class Result:
    """One check's verdict; `expected`, `seen` and `look` are empty when it passed."""

    check: str
    about: str
    passed: bool
    expected: str = ""
    seen: str = ""
    look: str = ""
    printed: str = ""
    seed: int = 0


class Grader:
    """Grades pieces; make it with `grading`."""

    def __init__(self, group: cgroups.Cgroup, room: sandbox.Room) -> None:
        self._group = group
        self._room = room
        self._in_vain = ("", 0)  # the text that was graded last, and how many of its checks waited in vain

    def grade(self, chapter: Chapter, piece: Piece, seed: int | None = None) -> list[Result]:
        """Run all checks of `chapter` on `piece`; a chapter without checks is an error."""
        checks = chapter.checks()
        if not checks:
            raise MinidockError(f"chapter {chapter.number} has no checks")
        return [self.run(chapter, piece, check, seed) for check in checks]

    def run(self, chapter: Chapter, piece: Piece, check: Check, seed: int | None = None) -> Result:
        """Run one check in a sandbox."""
        seed = secrets.randbits(32) if seed is None else seed
        in_vain = self._in_vain[1] if self._in_vain[0] == piece.text else 0
        patience = PATIENCE if in_vain < ENOUGH else IMPATIENCE

        def inside(records: int) -> None:
            _examine(records, Bench(piece, chapter, seed, patience), check)

        stay = sandbox.stay(inside, self._group, self._room)
        about = (check.__doc__ or check.__name__).strip().splitlines()[0]
        name = check.__name__.removeprefix("check_")
        verdict = next((record for record in stay.records if "passed" in record), None)
        broken = next((record["broken"] for record in stay.records if "broken" in record), None)
        if broken is not None:
            raise MinidockError(f"the sandbox could not be made or used: {broken}")
        if verdict is None:
            seen, look = _without_verdict(stay, self._room)
            return Result(name, about, False, "the check ends", seen, look, stay.printed, seed)
        self._in_vain = (piece.text, in_vain + verdict.pop("has_waited_in_vain"))
        return Result(name, about, **verdict, printed="" if verdict["passed"] else stay.printed, seed=seed)

    def unloadable(self, chapter: Chapter, piece: Piece) -> Result | None:
        """Return the failure of a file that raises while it is loaded, or lacks a function; else None."""
        result = self.run(chapter, piece, _load)
        return None if result.passed else result


def _load(bench: Bench) -> None:
    """The file can be loaded, and its functions are there."""
    contract = f"a file that defines {', '.join(bench.chapter.functions)}"
    with bench.start(lambda _piece: 0) as subject:
        facts = bench.outcome(subject)
        if "value" in facts:
            return
        seen, where = "it ends while it is loaded", bench.piece.path
        if "raised" in facts:
            own = facts["raised"] == "NotYours"
            seen = facts["message"] if own else f"{facts['raised']}: {facts['message']}"
        elif "stuck" in facts:
            seen = "it is not loaded after some seconds"
        if facts.get("line"):
            where = (
                f"line {facts['line']} of {where}: {diagnose.line(bench.piece.text, facts['line']).strip()}"
            )
        raise Wrong(contract, seen, where)


def unreadable(piece: Piece) -> Result | None:
    """Return the failure of a file that is not Python, None for one that is."""
    try:
        compile(piece.text, piece.path, "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: it holds null bytes
        number = getattr(error, "lineno", None) or 1
        lines = piece.text.splitlines()
        code = lines[number - 1].strip() if number <= len(lines) else ""
        seen = f"the file is not Python: {getattr(error, 'msg', error)}"
        look = f"line {number} of {piece.path}: {code}"
        return Result("python", "The file is Python.", False, "a file that can be loaded", seen, look)
    return None


@contextmanager
def grading(room: sandbox.Room | None = None) -> Iterator[Grader]:
    """Yield a Grader; its cgroup goes with it."""
    room = room or sandbox.Room()
    with sandbox.limits(room) as group:
        yield Grader(group, room)


def _without_verdict(stay: sandbox.Stay, room: sandbox.Room) -> tuple[str, str]:
    """Say what became of an examiner that gave no verdict, and why that may be."""
    if stay.timed_out:
        return f"still running after {room.timeout:.0f} s: ended", ""
    code = os.waitstatus_to_exitcode(stay.status)
    if code == -signal.SIGKILL:
        return "the sandbox was ended by SIGKILL", f"it may use {room.memory >> 20} MB of memory and no more"
    seen = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the sandbox's process 1, which looks on, ended with {seen}", (
        "a signal to a process group, or to all (-1), reaches others than one's own child"
    )


def _examine(records: int, bench: Bench, check: Check) -> None:
    """Be the examiner, pid 1 of a sandbox."""
    verdict: dict[str, object] = {"passed": True}
    try:
        try:
            check(bench)
        except OSError as error:  # the examiner looked at a process that is gone, or found a file missing
            raise Wrong(
                check.__doc__ or "", f"the process is gone ({error})", bench.where(bench.chapter.functions[0])
            ) from None
        finally:
            bench.finish()
    except Wrong as wrong:
        first = wrong.__context__ if isinstance(wrong.__context__, Wrong) else None
        verdict = {"passed": False, **_words(first, wrong)}
    verdict["has_waited_in_vain"] = bench.has_waited_in_vain and not verdict["passed"]
    os.write(records, json.dumps(verdict).encode() + b"\n")


def _words(first: Wrong | None, last: Wrong) -> dict[str, str]:
    """Return the words of a failure; when the check failed and the witness too, of both."""
    if first is None:
        return {"expected": last.expected, "seen": last.seen, "look": last.look}
    besides = ": ".join(filter(None, (f"besides, {last.seen}", last.look)))
    look = "; ".join(filter(None, (first.look, besides)))
    return {"expected": first.expected, "seen": first.seen, "look": look}
