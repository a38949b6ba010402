"""The one door to the kernel: syscall(2) through ctypes, with the system call numbers of each architecture.

Debian 12's Python 3.11 has neither os.unshare nor os.setns, and its glibc lacks wrappers for much of what a
container needs, so every call goes by number. syscall(2), syscall_64.tbl (x86), asm-generic/unistd.h (arm64).
"""

import ctypes
import errno
import os
from typing import Any, Final

# From 424 on (Linux 5.1) every architecture numbers new system calls alike.
_COMMON: Final = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}
_X86_64: Final = {
    "rt_sigaction": 13,
    "clone": 56,
    "capget": 125,
    "capset": 126,
    "personality": 135,
    "pivot_root": 155,
    "prctl": 157,
    "mount": 165,
    "umount2": 166,
    "sethostname": 170,
    "setdomainname": 171,
    "gettid": 186,
    "set_mempolicy": 238,
    "add_key": 248,
    "keyctl": 250,
    "ioprio_set": 251,
    "inotify_add_watch": 254,
    "unshare": 272,
    "inotify_init1": 294,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "syncfs": 306,
    "setns": 308,
    "sched_setattr": 314,
    "renameat2": 316,
    "seccomp": 317,
    "memfd_create": 319,
    "bpf": 321,
    "execveat": 322,
    "statx": 332,
}
_AARCH64: Final = {
    "inotify_init1": 26,
    "inotify_add_watch": 27,
    "ioprio_set": 30,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "capget": 90,
    "capset": 91,
    "personality": 92,
    "unshare": 97,
    "rt_sigaction": 134,
    "sethostname": 161,
    "setdomainname": 162,
    "prctl": 167,
    "gettid": 178,
    "add_key": 217,
    "keyctl": 219,
    "clone": 220,
    "set_mempolicy": 237,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "syncfs": 267,
    "setns": 268,
    "sched_setattr": 274,
    "renameat2": 276,
    "seccomp": 277,
    "memfd_create": 279,
    "bpf": 280,
    "execveat": 281,
    "statx": 291,
}
NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": _X86_64 | _COMMON,
    "aarch64": _AARCH64 | _COMMON,
}
ARCHITECTURE: Final = os.uname().machine


def _raise_errno(result: Any, _function: Any, _arguments: Any) -> Any:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


libc: Final = ctypes.CDLL(None, use_errno=True)
# An argument fills a whole register: an int all of its 64 bits (without argtypes the lower 32), bytes and
# byref() a pointer, None a null pointer.
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6
libc.syscall.restype = ctypes.c_long
libc.syscall.errcheck = _raise_errno


def number(name: str) -> int:
    """Return the number of system call `name` here; OSError(ENOSYS) when our table has none."""
    try:
        return NUMBERS[ARCHITECTURE][name]
    except KeyError:
        message = f"no system call number known on {ARCHITECTURE}"
        raise OSError(errno.ENOSYS, message, name) from None


def syscall(name: str, *arguments: Any, about: str | bytes | None = None) -> int:
    """Make one system call and return its result; the missing arguments of six are 0, as prctl(2) wants them.

    `about` names the object (a path, a key) in the OSError, and a note on the error names the call.
    """
    padding = (0,) * (6 - len(arguments))
    try:
        return int(libc.syscall(number(name), *arguments, *padding))
    except OSError as error:
        if about is not None:
            error.filename = os.fsdecode(about)
        error.add_note(f"the system call was {name}(2)")
        raise


def encode(text: str | bytes | os.PathLike[str]) -> bytes:
    """Return `text` as the kernel's bytes; ValueError for a NUL, where the kernel would silently cut it."""
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError(f"embedded null byte in {data!r}")
    return data
