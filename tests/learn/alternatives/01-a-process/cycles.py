"""One spare descriptor for each cycle of the permutation, and the program by its open file."""

import os
import signal


def connect(descriptors):
    source = dict(enumerate(descriptors))
    done = set()
    for number in list(source):
        if source[number] == number:
            os.set_inheritable(number, True)
            done.add(number)
    while len(done) < len(source):
        needed = {source[number] for number in source if number not in done}
        free = [number for number in source if number not in done and number not in needed]
        if free:
            os.dup2(source[free[0]], free[0])
            done.add(free[0])
            continue
        number = next(number for number in source if number not in done)
        spare = os.dup(number)
        source = {key: spare if value == number else value for key, value in source.items()}
        os.dup2(source[number], number)
        done.add(number)
        spares.append(spare)
    while spares:
        os.close(spares.pop())


spares = []


def execute(arguments, environment, descriptors=(0, 1, 2)):
    places = [""] if "/" in arguments[0] else environment.get("PATH", "/usr/bin:/bin").split(":")
    program = -1
    for place in places:
        try:
            program = os.open(os.path.join(place, arguments[0]), os.O_PATH | os.O_CLOEXEC)
            break
        except OSError:
            continue
    if program < 0:
        raise FileNotFoundError(2, "there is no program", arguments[0])
    if program < 3:
        raise OSError(9, "the standard streams are not open", arguments[0])
    connect(descriptors)
    for entry in os.scandir("/proc/self/fd"):
        number = int(entry.name)
        if number > 2:
            try:
                os.set_inheritable(number, False)
            except OSError:
                pass
    for number in set(range(1, signal.NSIG)) - {9, 19, 32, 33}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(program, arguments, environment)
    except OSError as error:  # it knows a number only
        raise OSError(error.errno, error.strerror, arguments[0]) from None


def exit_code(wait_status):
    high, low = divmod(wait_status, 256)
    return high if low == 0 else low % 128 + 128
