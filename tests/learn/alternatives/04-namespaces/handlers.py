"""Signal handlers and a blocking wait; the C library's setns."""

import ctypes
import os
import signal

from minidock.kernel import namespaces, process


def clone_child(kinds, child):
    unknown = set(kinds) - set(namespaces.NAMES)
    if unknown:
        raise LookupError(unknown)
    flags = 0
    for name, kind in namespaces.NAMES.items():
        flags += kind.flag if name in kinds else 0
    pid = process.clone(flags)
    try:
        return pid or child()
    finally:
        if not pid:
            os._exit(0)


def join_namespaces(joined):
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, descriptor in joined.items():
        if libc.setns(descriptor, namespaces.NAMES[kind].flag) != 0:
            raise OSError(ctypes.get_errno(), f"cannot join {kind}")


def serve(child, signals):
    for number in signals:
        if number == signal.SIGCHLD:
            signal.signal(number, lambda _number, _frame: None)
            continue
        try:
            signal.signal(number, lambda got, _frame: os.kill(child, got))
        except (OSError, ValueError):
            continue
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    while True:
        pid, status = os.wait()
        if pid == child:
            return process.exit_code(status)
