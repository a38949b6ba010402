"""What is pending is asked for again and again, with short naps; who has ended by waitid(2)."""

import os
import signal
import sys
import time

from minidock.kernel import namespaces, process


def clone_child(kinds, child):
    flags = 0
    for kind in kinds:
        try:
            flags |= namespaces.NAMES[kind].flag
        except KeyError:
            raise ValueError(f"there are no {kind} namespaces") from None
    pid = process.clone(flags)
    if pid != 0:
        return pid
    code = 0
    try:
        child()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    finally:
        os._exit(code)


def join_namespaces(joined):
    by_kind = {kind: namespaces.NAMES[kind].flag for kind in joined}
    for kind, flag in by_kind.items():
        namespaces.setns(joined[kind], flag)


def serve(child, signals):
    while True:
        for number in signal.sigpending() & set(signals):
            signal.sigwait({number})
            if number != signal.SIGCHLD:
                os.kill(child, number)
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            _, status = os.waitpid(ended.si_pid, 0)
            if ended.si_pid == child:
                return process.exit_code(status)
        time.sleep(0.005)
