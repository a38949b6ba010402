"""Pid 1 for programs that were not written to be pid 1 (`docker run --init`).

The kernel gives pid 1 two duties: signals whose disposition is default do not reach it, and orphans become
its children. A program that ignores both cannot be stopped and collects zombies. So init stays, forwards
every signal and reaps. pid_namespaces(7), signal(7), wait(2).
"""

import os
import signal
import socket
from collections.abc import Sequence

from minidock.kernel import process

_NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}


def fork_program(descriptors: Sequence[int], channel: socket.socket) -> list[int]:
    """Fork: the child returns `descriptors` and goes on to become the program; the parent stays as pid 1 for
    good.
    """
    signals = set(signal.valid_signals()) - _NOT_FORWARDED
    signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        return list(descriptors)
    channel.close()
    process.close_range(0)
    os._exit(_serve(child, signals | {signal.SIGCHLD}))


def _serve(child: int, signals: set[int]) -> int:
    """Forward signals to `child` and reap until it ends; return its exit code."""
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            _forward(child, number)
            continue
        while (ended := _reap_one()) is not None:
            pid, status = ended
            if pid == child:
                return process.exit_code(status)


def _forward(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return  # it has just ended: SIGCHLD comes next


def _reap_one() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None
