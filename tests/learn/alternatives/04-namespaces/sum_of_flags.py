"""Flags from a sum, an error in words of its own, signals by sigwaitinfo, one loop that an exception ends."""

import os
import signal

from minidock.kernel import namespaces, process


def clone_child(kinds, child):
    flags = sum({namespaces.NAMES[kind][0] for kind in kinds})
    pid = process.clone(flags)
    if pid:
        return pid
    try:
        return child()
    finally:
        os._exit(1)


def join_namespaces(joined):
    for kind in joined:
        try:
            namespaces.setns(joined[kind], namespaces.NAMES[kind].flag)
        except OSError as error:
            raise OSError(f"cannot join {kind}") from error


def serve(child, signals):
    while True:
        got = signal.sigwaitinfo(signals)
        if got.si_signo == signal.SIGCHLD:
            try:
                while True:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                    if pid == 0:
                        break
                    if pid == child:
                        return process.exit_code(status)
            except ChildProcessError:
                pass
        else:
            try:
                os.kill(child, got.si_signo)
            except ProcessLookupError:
                pass
