"""Reaps everybody who has ended before it returns, and looks at the status by itself."""

import contextlib
import os
import signal
from functools import reduce
from operator import or_

from minidock.kernel import namespaces, process


def clone_child(kinds, child):
    pid = process.clone(reduce(or_, (namespaces.NAMES[kind].flag for kind in kinds), 0))
    with contextlib.ExitStack() as stack:
        if not pid:
            stack.callback(os._exit, 1)
            child()
        return pid


def join_namespaces(joined):
    [namespaces.setns(fd, namespaces.NAMES[kind].flag) for kind, fd in joined.items()]


def serve(child, signals):
    result = None
    while result is None:
        number = signal.sigwait(signals)
        if number == signal.SIGCHLD:
            result = _reap(child)
        else:
            os.kill(child, number)
    return result


def _reap(child):
    result = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return result
        if pid == 0:
            return result
        if pid == child:
            result = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
