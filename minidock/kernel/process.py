"""Processes: making one in new namespaces, knowing it without a race, and leaving it nothing of ours.

A pid can be reused as soon as its process is reaped; a pidfd, or (boot id, pid, start time) on disk, cannot.
Source: clone(2), pidfd_open(2), prctl(2), close_range(2), memfd_create(2), fcntl(2), proc_pid_stat(5).
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
from collections.abc import Sequence
from typing import Final

from minidock.kernel.libc import ARCHITECTURE, libc, number, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CSIGNAL = 0xFF  # the low byte of clone's flags is the signal that the parent gets
CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4  # not now, but when a program is executed
MFD_EXEC = 0x10
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
START_TIME_FIELD = 22
ARGUMENTS_FIELD = 48  # arg_start, and arg_end after it

# PyDLL, unlike CDLL, keeps the interpreter lock during the call: the child must own it, as after os.fork().
_syscall_with_lock: Final = ctypes.PyDLL(None, use_errno=True).syscall
_syscall_with_lock.argtypes = libc.syscall.argtypes
_syscall_with_lock.restype = ctypes.c_long
_EVERY_SIGNAL: Final = signal.valid_signals()
_before_fork: Final = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_child: Final = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_parent: Final = ctypes.pythonapi.PyOS_AfterFork_Parent
for _function in (_before_fork, _after_fork_child, _after_fork_parent):
    _function.argtypes = []
    _function.restype = None


def clone(flags: int) -> int:
    """Fork into new namespaces (CLONE_NEW*): return 0 in the child, its pid in the parent, like os.fork().

    For a single-threaded caller. os.fork() after unshare(2) would move the caller too, which forks for other
    containers. CLONE_NEWTIME has no bit in clone(2), whose low byte is a signal: OSError(EINVAL).
    """
    if flags & CSIGNAL:
        reason = "the low byte of clone's flags is a signal; for CLONE_NEWTIME use unshare"
        raise OSError(errno.EINVAL, reason, f"clone(flags={flags:#x})")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # A handler that raised between the hooks would leave the interpreter's locks taken for ever.
        signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)
        pid, failure = _clone_between_hooks(flags | signal.SIGCHLD, _tid_address())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if pid < 0:
        raise OSError(failure, os.strerror(failure), f"clone(flags={flags:#x})")
    return pid


def _clone_between_hooks(flags: int, tid_address: int) -> tuple[int, int]:
    """Return clone's result and errno; the hooks are those that os.fork() calls around fork(2)."""
    if tid_address:
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    # x86 takes the child's tid address before the thread's tls, the other architectures after it.
    last = (tid_address, 0) if ARCHITECTURE == "x86_64" else (0, tid_address)
    call = number("clone")
    _before_fork()
    pid = int(_syscall_with_lock(call, flags, 0, 0, *last, 0))
    failure = ctypes.get_errno()
    if pid == 0:
        _after_fork_child()
    else:
        _after_fork_parent()
    return pid, failure


def _tid_address() -> int:
    """Return where glibc caches the caller's thread id; 0 on a kernel without CONFIG_CHECKPOINT_RESTORE.

    A raw clone bypasses glibc, so the child would keep its parent's id there, and a thread with that id in a
    new pid namespace would pass for the owner of the main thread's locks. The kernel knows the address of
    that cache from set_tid_address(2).
    """
    address = ctypes.c_void_p()
    try:
        _prctl(PR_GET_TID_ADDRESS, ctypes.byref(address))
    except OSError:
        return 0
    return address.value or 0


def pidfd_open(pid: int) -> int:
    """Return a descriptor of the process that becomes readable when it ends; ESRCH when there is none."""
    return syscall("pidfd_open", pid, 0, about=f"process {pid}")


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """Signal the process behind `pidfd`; ProcessLookupError once it is reaped, whoever has its pid now."""
    syscall("pidfd_send_signal", pidfd, sig, None, 0, about=f"signal {sig}")


def has_exited(pidfd: int) -> bool:
    """Tell whether the process has ended, be it reaped or a zombie, child or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def close_range(first: int, last: int = 2**32 - 1, flags: int = 0) -> None:
    """Close all descriptors from `first` to `last`, open or not; CLOSE_RANGE_CLOEXEC: at the next exec."""
    syscall("close_range", first, last, flags, about=f"descriptors from {first}")


def start_time(pid: int) -> int:
    """Return when the process started, in clock ticks since boot: with boot id and pid its lasting name."""
    return int(_status_fields(f"/proc/{pid}/stat")[START_TIME_FIELD - 3])


def _status_fields(path: str) -> list[bytes]:
    """Return the fields of a `stat` file from the third on."""
    try:
        with open(path, "rb") as file:
            line = file.read()
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), path) from None
    return line[line.rindex(b")") + 1 :].split()  # field 2, the name, may hold spaces and parentheses


def boot_id() -> str:
    """Return the random UUID of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def set_subreaper() -> None:
    """Become the parent of all orphans among one's descendants, in init's place."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid others to trace the caller and read its /proc/PID files; execve(2) allows it again."""
    _prctl(PR_SET_DUMPABLE, int(dumpable))


def set_no_new_privileges() -> None:
    """Give up for ever what setuid bits and file capabilities grant at execve(2)."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_parent_death_signal(sig: int) -> None:
    """Ask for a signal when the *thread* that made the caller ends (0: none); cleared by a setuid exec."""
    _prctl(PR_SET_PDEATHSIG, sig)


def title_room() -> tuple[int, int]:
    """Return where in memory this process and its forks have their command line: address and size in bytes.

    To be read while /proc is the host's: an address from an image's file would be written to.
    """
    first, last = map(int, _status_fields("/proc/self/stat")[ARGUMENTS_FIELD - 3 : ARGUMENTS_FIELD - 1])
    return first, last - first


def set_title(room: tuple[int, int], name: str, arguments: Sequence[str]) -> None:
    """Be called `name` with `arguments` in ps and top: cut to the room there is.

    The kernel shows the memory that held the command line; where the last byte of it is no NUL, what comes
    before the first NUL counts (get_mm_cmdline). prctl(PR_SET_MM_*) would move it, for CAP_SYS_RESOURCE.
    """
    address, size = room
    _prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(os.path.basename(name))[:15]))
    text = b" ".join(map(os.fsencode, [name, *arguments])).replace(b"\0", b" ")[: size - 2]
    ctypes.memmove(address, text.ljust(size - 1, b"\0") + b"-", size)


def _prctl(option: int, argument: object) -> None:
    syscall("prctl", option, argument, about=f"option {option}")


def reset_signals() -> None:
    """Restore every signal's default action and empty the mask: ignoring and blocking survive execve(2).

    Python starts with SIGPIPE and SIGXFSZ ignored, and nohup ignores SIGHUP. Only from the main thread.
    """
    for sig in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(sig, signal.SIG_DFL)
    default = bytes(32)  # struct kernel_sigaction: handler 0 is SIG_DFL, no flags, empty mask
    for reserved in (32, 33):  # glibc keeps these two to itself and refuses to touch them
        syscall("rt_sigaction", reserved, default, None, 8, about=f"signal {reserved}")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def exit_code(wait_status: int) -> int:
    """Turn the status of wait(2) into what a shell shows: 0 to 255, or 128+n after signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def sealed_memfd(name: str, data: bytes) -> int:
    """Return a descriptor, at offset 0, of an anonymous file with `data` that nobody can change or resize.

    The file may be executed. `name` shows in /proc/PID/fd only.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(name, flags | MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.memfd_create(name, flags)  # before Linux 6.3, where every memfd may be executed
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def seals(fd: int) -> int:
    """Return the F_SEAL_* bits of a memfd; OSError(EINVAL) for a file that cannot be sealed."""
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
