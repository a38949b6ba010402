"""Programs for the child of a process 1, which leave orphans or write down the signals they get.

What becomes of them is read in /proc, from outside. pid_namespaces(7).
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidock.learn.bench import Bench

Program = Callable[[], None]
CATCHABLE = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


def pause() -> None:
    """Live until somebody ends this process."""
    while True:
        signal.pause()


def breeding(ends: Sequence[int]) -> Program:
    """Return a program that leaves an orphan for each of `ends`, which lives until that closes."""

    def program() -> None:
        for end in ends:
            if os.fork() == 0:
                if os.fork() == 0:
                    os.read(end, 1)
                os._exit(3)
            os.wait()
        pause()

    return program


def listening(path: str, others: str = "") -> Program:
    """Return a program that writes the numbers of the signals it gets to the file `path`.

    With `others`, it first leaves an orphan that writes those that it gets to that file.
    """

    def program() -> None:
        if others:
            if os.fork() == 0:
                if os.fork() == 0:
                    listening(others)()
                os._exit(0)
            os.wait()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in CATCHABLE - {32, 33}:
            try:
                signal.signal(number, lambda got, _frame: os.write(file, f"{got}\n".encode()))
            except (OSError, ValueError):
                continue
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.write(file, b"ready\n")
        while True:
            time.sleep(10)

    return program


def bereaved(path: str) -> Program:
    """Return a program that leaves an orphan which ends, and then listens."""
    listens = listening(path)

    def program() -> None:
        if os.fork() == 0:
            if os.fork() == 0:
                while "ready" not in heard(path):
                    time.sleep(0.01)
            os._exit(0)
        os.wait()
        signal.sigtimedwait([signal.SIGCHLD], 0)  # that was news of its own child
        listens()

    return program


def heard(path: str) -> list[str]:
    """Return what a program that listens has written to `path` so far."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().split()


def children(bench: "Bench", pid: int) -> list[tuple[int, str]]:
    """Return the children of a process, each with its state (a letter)."""
    found = []
    for each in bench.eyes.processes():
        try:
            status = bench.eyes.status(each)
        except OSError:
            continue
        if status["PPid"] == str(pid):
            found.append((each, status["State"][0]))
    return found


def zombies(bench: "Bench", pid: int) -> list[int]:
    return [each for each, state in children(bench, pid) if state == "Z"]
