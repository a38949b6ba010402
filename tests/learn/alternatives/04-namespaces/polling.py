"""No sigwait loop but time-outs, waitid(2) instead of waitpid(2), a table of one's own."""

import os
import signal

from minidock.kernel import namespaces, process

FLAGS = {
    "uts": namespaces.CLONE_NEWUTS,
    "ipc": namespaces.CLONE_NEWIPC,
    "pid": namespaces.CLONE_NEWPID,
    "mount": namespaces.CLONE_NEWNS,
    "network": namespaces.CLONE_NEWNET,
    "cgroup": namespaces.CLONE_NEWCGROUP,
    "user": namespaces.CLONE_NEWUSER,
}


def clone_child(kinds, child):
    flags = 0
    for kind in kinds:
        if kind not in FLAGS:
            raise ValueError(f"unknown namespace {kind}")
        flags |= FLAGS[kind]
    pid = process.clone(flags)
    if pid == 0:
        try:
            child()
        except BaseException:
            os._exit(70)
        os._exit(0)
    return pid


def join_namespaces(joined):
    for kind, descriptor in sorted(joined.items()):
        namespaces.setns(descriptor, FLAGS[kind])


def serve(child, signals):
    while True:
        info = signal.sigtimedwait(signals, 0.05)
        if info is not None and info.si_signo != signal.SIGCHLD:
            os.kill(child, info.si_signo)
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            if ended is None:
                break
            if ended.si_pid == child:
                return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
