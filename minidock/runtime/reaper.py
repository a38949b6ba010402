"""Pid 1 for programs that were not written to be pid 1 (`docker run --init`).

The kernel gives pid 1 two duties: signals whose disposition is default do not reach it, and orphans become
its children. A program that ignores both cannot be stopped and collects zombies. So init stays, forwards
every signal and reaps. pid_namespaces(7), signal(7), wait(2).
"""

import os
import signal
import socket
from collections.abc import Collection, Sequence
from typing import NamedTuple

from minidock.kernel import process

NAME = "/sbin/docker-init"
_NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}


class Title(NamedTuple):
    """How pid 1 is to be called: where its command line lies in memory, and the program it starts."""

    room: tuple[int, int]
    arguments: Sequence[str]


def fork_program(descriptors: Sequence[int], channel: socket.socket, title: Title) -> list[int]:
    """Fork: the child returns `descriptors` and goes on to become the program; the parent stays as pid 1 for
    good, under docker's name for it.
    """
    signals = set(signal.valid_signals()) - _NOT_FORWARDED
    signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        lead_the_terminal(descriptors)
        return list(descriptors)
    process.set_title(title.room, NAME, ["--", *title.arguments])
    channel.close()
    process.close_range(0)
    os._exit(serve(child, signals | {signal.SIGCHLD}))


def lead_the_terminal(descriptors: Sequence[int]) -> None:
    """Give the program a process group of its own, in the foreground of its terminal if it has one.

    In pid 1's group, ctrl-c would reach it twice: from the terminal, and passed on by pid 1.
    """
    os.setpgid(0, 0)
    if os.isatty(descriptors[0]):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # who is in the background is stopped else
        os.tcsetpgrp(descriptors[0], os.getpid())


def serve(child: int, signals: Collection[int]) -> int:
    """Be pid 1: pass signals on to `child` and reap everybody, until `child` ends; return its exit code.

    All of `signals`, SIGCHLD among them, are blocked already, so that sigwait(3) can wait for them. SIGCHLD
    comes once for many children that end together, and is never passed on.
    """
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # until it is reaped, below, its pid is still its own
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            if pid == child:
                return process.exit_code(status)
            pid, status = os.waitpid(-1, os.WNOHANG)
