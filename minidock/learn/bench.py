"""What a check has in its hands: subjects, random inputs, eyes, and messages that name the line.

A Bench exists as pid 1 of a fresh sandbox, for one check. A check starts subjects, looks at them from outside,
and raises Wrong (see `expect`). Afterwards the witness must see what it saw before.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from minidock.learn import diagnose, source, tree
from minidock.learn.chapters import Chapter
from minidock.learn.eyes import Eyes
from minidock.learn.piece import Piece
from minidock.learn.subject import Body, Subject
from minidock.learn.wrong import Wrong, expect

PATIENCE = 4.0  # seconds that one function of a learner may take


class Bench:
    """The examiner's place in one sandbox."""

    def __init__(self, piece: Piece, chapter: Chapter, seed: int) -> None:
        self.piece = piece
        self.chapter = chapter
        self.random = random.Random(seed)
        self.eyes = Eyes()
        self.scratch = tree.SCRATCH
        self._subjects: list[Subject] = []
        self._witness = _witness()
        self._before = self.eyes.view(self._witness)

    def token(self) -> str:
        """Return a word that nobody can have written down before."""
        return f"{self.random.getrandbits(48):012x}"

    def directory(self) -> str:
        """Make a directory with a random name in the scratch."""
        path = f"{self.scratch}/{self.token()}"
        os.mkdir(path, 0o755)
        return path

    def where(self, function: str) -> str:
        """Name the place of a learner's function."""
        return f"{function} at line {source.line_of(self.piece.text, function)} of {self.piece.path}"

    @contextmanager
    def start(self, body: Body, flags: int = 0) -> Iterator[Subject]:
        """Run `body(functions)` in a process of its own (in new namespaces, `flags`), and end it afterwards."""
        subject = Subject(self.piece, self.chapter, body, flags)
        self._subjects.append(subject)
        try:
            yield subject
        finally:
            subject.close()

    def value(self, subject: Subject, function: str, contract: str) -> Any:
        """Return what the body returned; Wrong when it raised, hung, ended or became a program."""
        outcome = subject.wait(PATIENCE)
        if "value" in outcome:
            return outcome["value"]
        raise self._unexpected(subject, outcome, function, contract)

    def program(self, subject: Subject, function: str, contract: str) -> int:
        """Return the pid of the program that the subject has become; Wrong when it did not."""
        outcome = subject.wait(PATIENCE)
        if "became" in outcome:
            return subject.pid
        if "value" in outcome:
            raise Wrong(contract, f"{function} returned and no program was started", self.where(function))
        raise self._unexpected(subject, outcome, function, contract)

    def raised(self, subject: Subject, function: str, contract: str) -> dict[str, Any]:
        """Return the facts of the OSError that the body raised; Wrong when it raised none."""
        outcome = subject.wait(PATIENCE)
        if "raised" in outcome and outcome["errno"] is not None:
            return outcome
        if "value" in outcome:
            raise Wrong(contract, f"{function} returned {outcome['value']!r}", self.where(function))
        raise self._unexpected(subject, outcome, function, contract)

    def call(self, function: str, *arguments: Any, contract: str, flags: int = 0) -> Any:
        """Call one function of the learner's in a process of its own and return its result (JSON values)."""
        with self.start(lambda piece: getattr(piece, function)(*arguments), flags) as subject:
            return self.value(subject, function, contract)

    def wait_until(self, holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
        """Wait for something that another process is about to do."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def finish(self) -> None:
        """End what is left, and ask the witness; Wrong when its surroundings have changed."""
        for subject in self._subjects:
            subject.close()
        _end_orphans()
        after = self.eyes.view(self._witness)
        before = self._before
        functions = ", ".join(self.chapter.functions)
        gone = [line for line in before.mounts if line not in after.mounts]
        new = [line for line in after.mounts if line not in before.mounts]
        look = diagnose.leaked_mounts(gone, new)
        expect(not gone and not new, "a bystander in the sandbox sees the same mounts as before",
               "; ".join([*(f"gone: {line}" for line in gone[:2]), *(f"new: {line}" for line in new[:2])]), look)
        expect(before.hostname == after.hostname, f"the sandbox keeps its host name {before.hostname}",
               after.hostname, f"the name was set without a UTS namespace of its own ({functions})")
        expect(before.directory == after.directory, f"a bystander stays in {before.directory}", after.directory)
        left = set(after.processes) - set(before.processes)
        expect(not left, "no process is left", f"still there: {sorted(left)}")

    def _unexpected(self, subject: Subject, outcome: dict[str, Any], function: str, contract: str) -> Wrong:
        if "raised" in outcome:
            return diagnose.exception(self, subject, outcome, function, contract)
        if "stuck" in outcome:
            state = self.eyes.status(subject.pid).get("State", "gone")
            waits = ""
            with suppress(OSError):
                waits = self.eyes.read(f"{subject.pid}/wchan").decode()
            seen = f"it had not come back after {PATIENCE:.0f} s (state {state}, waiting in {waits or 'user code'})"
            return Wrong(contract, seen, self.where(function))
        status = subject.end(0.5)
        if status is None:
            return Wrong(contract, "the process became another program", self.where(function))
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Wrong(contract, f"the process ended with {how} and said nothing", self.where(function))


def _witness() -> int:
    """Start a process that only looks on."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    return pid


def _end_orphans() -> None:
    """Reap what a subject left behind; pid 1 is its parent now."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
