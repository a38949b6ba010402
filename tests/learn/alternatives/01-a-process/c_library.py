"""Every call by the C library itself."""

import ctypes
import fcntl
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)


def checked(result, about=None):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
    return result


def connect(descriptors):
    high = [checked(libc.fcntl(given, fcntl.F_DUPFD_CLOEXEC, 64)) for given in descriptors]
    for number in range(len(high)):
        checked(libc.dup2(high[number], number))
    for each in high:
        checked(libc.close(each))


def execute(arguments, environment, descriptors=(0, 1, 2)):
    name = os.fsencode(arguments[0])
    candidates = [name]
    if b"/" not in name:
        path = environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        candidates = [os.fsencode(place) + b"/" + name for place in path.split(":")]
    connect(descriptors)
    checked(
        libc.syscall(436, 3, ctypes.c_uint(0xFFFFFFFF), 4)
    )  # close_range: the number is the same everywhere
    for number in range(1, 65):
        libc.signal(number, None)
    empty = struct.pack("128x")
    checked(libc.sigprocmask(2, empty, None))
    words = (ctypes.c_char_p * (len(arguments) + 1))(*map(os.fsencode, arguments), None)
    pairs = [os.fsencode(key) + b"=" + os.fsencode(value) for key, value in environment.items()]
    table = (ctypes.c_char_p * (len(pairs) + 1))(*pairs, None)
    for candidate in candidates:
        libc.execve(candidate, words, table)
    checked(-1, arguments[0])


def exit_code(wait_status):
    return (wait_status & 127) + 128 if wait_status & 127 else wait_status // 256
