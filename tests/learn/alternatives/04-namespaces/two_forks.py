"""unshare(2) in a process between, whose child tells its pid; signals and ends by one poll."""

import os
import select
import signal

from minidock.kernel import namespaces, process

CLONE_PARENT = 0x8000  # the caller becomes the parent, not the process between


def clone_child(kinds, child):
    flags = [namespaces.NAMES[kind].flag for kind in kinds]
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        for flag in flags:
            namespaces.unshare(flag)
        pid = process.clone(CLONE_PARENT)
        if pid == 0:
            os.close(reading)
            os.close(writing)
            try:
                child()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(between, 0)
    text = os.read(reading, 32)
    os.close(reading)
    if not text:
        raise RuntimeError("the namespaces could not be made")
    return int(text)


def join_namespaces(joined):
    todo = dict(joined)
    while todo:
        kind, descriptor = todo.popitem()
        namespaces.setns(descriptor, namespaces.NAMES[kind].flag)


def serve(child, signals):
    pidfd = process.pidfd_open(child)
    ends = select.poll()
    ends.register(pidfd, select.POLLIN)
    passed_on = set(signals) - {signal.SIGCHLD}
    while not ends.poll(0):
        got = signal.sigtimedwait(passed_on, 0.02)
        if got:
            process.pidfd_send_signal(pidfd, got.si_signo)
        _reap_others(child)
    os.close(pidfd)
    return process.exit_code(os.waitpid(child, 0)[1])


def _reap_others(child):
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == child:
            return
        os.waitpid(ended.si_pid, 0)
