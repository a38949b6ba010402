"""The bits by hand, and dup(2) until the numbers are high enough."""

import os
import signal

from minidock.runtime.program import search


def connect(descriptors):
    copies, too_low = [], []
    for descriptor in descriptors:
        while True:
            copy = os.dup(descriptor)
            if copy >= len(descriptors):
                copies.append(copy)
                break
            too_low.append(copy)
    for copy in too_low:
        os.close(copy)
    for number, copy in enumerate(copies):
        os.dup2(copy, number)
        os.close(copy)


def execute(arguments, environment, descriptors=(0, 1, 2)):
    file = search(
        arguments[0], environment.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    )
    connect(descriptors)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve(file, arguments, environment)


def exit_code(wait_status):
    number = wait_status & 0x7F
    return 128 + number if number else wait_status >> 8 & 0xFF
