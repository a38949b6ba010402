"""What a check has in its hands: subjects, random inputs, eyes, and messages that name the line.

A Bench exists as pid 1 of a fresh sandbox, for one check. A check starts subjects, looks at them from
outside, and raises Wrong (see `expect`). Afterwards the witness must see what it saw before.
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

PATIENCE = 4.0  # seconds that one function of a learner may take,
MORE_PATIENCE = 30.0  # and when the machine is so busy that it could hardly run yet,
IMPATIENCE = 0.5  # and when it has kept this check waiting in vain before
POLL = 0.008


class Bench:
    """The examiner's place in one sandbox."""

    def __init__(self, piece: Piece, chapter: Chapter, seed: int, patience: float = PATIENCE) -> None:
        self.piece = piece
        self.chapter = chapter
        self.random = random.Random(seed)
        self.eyes = Eyes()
        self.scratch = tree.SCRATCH
        self._subjects: list[Subject] = []
        self._witness = _witness()
        self._before = self.eyes.view(self._witness)
        self._patience = patience
        self._limit = patience
        self.has_waited_in_vain = False

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
        """Run `body(functions)` in a process of its own (in new namespaces: `flags`); end it afterwards."""
        subject = Subject(self.piece, self.chapter, body, flags)
        self._subjects.append(subject)
        try:
            yield subject
        finally:
            subject.close()

    def outcome(self, subject: Subject) -> dict[str, Any]:
        """Return what became of the body, with patience: see Subject.wait."""
        self.wait_until(lambda: "stuck" not in subject.wait(POLL))
        return subject.outcome

    def value(
        self, subject: Subject, function: str, contract: str, look: str = "", returns: type | None = None
    ) -> Any:
        """Return what the body returned; Wrong when it raised, hung, ended, became a program, or when what it
        returned is no `returns`.
        """
        outcome = self.outcome(subject)
        if "value" in outcome:
            if returns is None or returns.__name__ in outcome["types"]:
                return outcome["value"]
            is_now, wanted = _article(outcome["types"][0]), _article(returns.__name__)
            seen = f"it returned {outcome['repr']}: {is_now}, not {wanted}"
            raise Wrong(contract, seen, self.where(function))
        raise self._unexpected(subject, outcome, function, contract, look)

    def program(self, subject: Subject, function: str, contract: str, look: str = "") -> int:
        """Return the pid of the program that the subject has become; Wrong when it did not."""
        outcome = self.outcome(subject)
        if "became" in outcome:
            return subject.pid
        if "value" in outcome:
            raise Wrong(
                contract, f"{function} returned and started no program", _both(look, self.where(function))
            )
        raise self._unexpected(subject, outcome, function, contract, look)

    def settle(self, pid: int, program: str, *functions: str) -> None:
        """Wait until `pid` has become `program` and sleeps, as one does that waits for its input: its dynamic
        loader opens files of its own before that. `functions` are to blame when it does not.
        """
        path = os.path.realpath(program)
        contract = f"{program} runs and waits for its input"
        since: list[float] = []  # when it was first seen to sleep as another program

        def settled() -> bool:
            sleeps = self.eyes.status(pid)["State"][0] == "S"
            if self.eyes.link(f"{pid}/exe") == path or not sleeps:
                since.clear()
                return sleeps
            since.append(time.monotonic())
            return since[-1] - since[0] > IMPATIENCE

        look = (
            "without an open input it ends at once: were its descriptors connected, are they inheritable? "
            + ", ".join(map(self.where, functions))
        )
        try:
            waits, other = self.wait_until(settled), self.eyes.link(f"{pid}/exe")
            if other != path:
                look = "execve(2) takes the program's own file, no shell nor anything else that starts it"
                where = ", ".join(map(self.where, functions[-1:]))
                raise Wrong(contract, f"the process is {other}", _both(look, where))
            expect(waits, contract, self.eyes.status(pid)["State"], look)
        except OSError as error:
            raise Wrong(contract, "it has ended", look) from error

    def raised(self, subject: Subject, function: str, contract: str, look: str = "") -> dict[str, Any]:
        """Return the facts of the OSError that the body raised; Wrong when it raised none."""
        outcome = self.outcome(subject)
        if "raised" in outcome and outcome["is_os_error"]:
            return outcome
        if "value" in outcome:
            raise Wrong(
                contract, f"{function} returned {outcome['value']!r}", _both(look, self.where(function))
            )
        raise self._unexpected(subject, outcome, function, contract, look)

    def call(
        self, function: str, *arguments: Any, contract: str, look: str = "", returns: type | None = None
    ) -> Any:
        """Call one function of the learner's in a process of its own and return its result (JSON values)."""
        with self.start(lambda piece: getattr(piece, function)(*arguments)) as subject:
            return self.value(subject, function, contract, look, returns)

    def wait_until(self, holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
        """Wait for something that another process is about to do; on a busy machine longer than `seconds`."""
        began = time.monotonic()
        self._limit = min(seconds, IMPATIENCE if self.has_waited_in_vain else self._patience)
        while not holds():
            waited = time.monotonic() - began
            if waited > MORE_PATIENCE or (waited > self._limit and not self.eyes.is_starved(self._limit)):
                self.has_waited_in_vain = True
                return False
            time.sleep(POLL)
        return True

    def finish(self) -> None:
        """End what is left, and ask the witness; Wrong when its surroundings have changed."""
        for subject in self._subjects:
            subject.close()
        # A killed process takes a moment to go, and those without a parent are ours to reap.
        self.wait_until(lambda: _reaped() and set(self.eyes.processes()) <= set(self._before.processes), 1)
        try:
            after = self.eyes.view(self._witness)
        except OSError:
            raise Wrong(
                "a bystander in the sandbox is left alone",
                "it was killed",
                "os.kill(0, ...) and os.kill(-1, ...) reach others than one's own child",
            ) from None
        before = self._before
        functions = ", ".join(self.chapter.functions)
        gone = [line for line in before.mounts if line not in after.mounts]
        new = [line for line in after.mounts if line not in before.mounts]
        look = diagnose.leaked_mounts(gone, new)
        expect(
            not gone and not new,
            "a bystander in the sandbox sees the same mounts as before",
            "; ".join([*(f"gone: {line}" for line in gone[:2]), *(f"new: {line}" for line in new[:2])]),
            look,
        )
        expect(
            before.hostname == after.hostname,
            f"the sandbox keeps its host name {before.hostname}",
            after.hostname,
            f"the name was set without a UTS namespace of its own ({functions})",
        )
        expect(
            before.directory == after.directory, f"a bystander stays in {before.directory}", after.directory
        )
        left = set(after.processes) - set(before.processes)
        look = f"what {functions} started must end, or be handed back as a pid"
        expect(not left, "no process is left", f"still there: {sorted(left)}", look)

    def _unexpected(
        self, subject: Subject, outcome: dict[str, Any], function: str, contract: str, look: str
    ) -> Wrong:
        where = _both(look, self.where(function))
        if "raised" in outcome:
            wrong = diagnose.exception(self, subject, outcome, function, contract)
            wrong.look = _both(wrong.look, look)
            return wrong
        if "stuck" in outcome:
            waited = f"{self._limit:g} s" + ", as often before" * (self._patience < PATIENCE)
            return Wrong(contract, f"not back after {waited}: {self._occupied(subject.pid)}", where)
        status = subject.end(0.5)
        if status is None:
            return Wrong(contract, "the process became another program", where)
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Wrong(contract, f"the process ended with {how} and said nothing", where)

    def _occupied(self, pid: int) -> str:
        """Say what a process is doing: it runs, or sleeps in which function of the kernel."""
        state = self.eyes.status(pid).get("State", "gone")
        if state.startswith("R"):
            return "it is running, in a loop without an end?"
        waits = ""
        with suppress(OSError):
            waits = self.eyes.read(f"{pid}/wchan").decode()
        return f"it waits ({state}{f', in the kernel at {waits}' if waits.strip('0') else ''})"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _both(first: str, second: str) -> str:
    return "; ".join(filter(None, (first, second)))


def _witness() -> int:
    """Start a process that only looks on."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    return pid


def _reaped() -> bool:
    """Reap what a subject left behind, for pid 1 is its parent now; always true."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return True
