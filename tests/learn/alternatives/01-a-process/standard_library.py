"""As much as possible by the standard library."""

import os
import resource
import signal


def connect(descriptors):
    aside = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
        aside.append(os.dup(descriptor))
    while aside and min(aside) < len(descriptors):
        index = aside.index(min(aside))
        low = aside[index]
        aside[index] = os.dup(low)
        pending.append(low)
    for number, copy in enumerate(aside):
        os.dup2(copy, number)
    for copy in aside:
        os.close(copy)
    for low in pending:
        if low >= len(descriptors):
            os.close(low)
    pending.clear()


pending = []


def execute(arguments, environment, descriptors=(0, 1, 2)):
    connect(descriptors)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for number in range(3, min(limit, 1 << 16)):
        try:
            os.set_inheritable(number, False)
        except OSError:
            continue
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    os.execvpe(arguments[0], arguments, environment)


def exit_code(wait_status):
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)
