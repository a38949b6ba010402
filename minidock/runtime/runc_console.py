"""The caller's terminal and signals while minidock-runc waits for a program in the foreground.

With a terminal in the spec, somebody must hold its master: the caller's console socket when detached, else
this process, which then copies between it and its own terminal. Every other signal is passed on.
tty_ioctl(4), signal(7).
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator

from minidock.errors import InvalidParameter
from minidock.kernel import process, terminal
from minidock.runtime.runc_options import Options

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Console:
    """What a foreground run needs: the master of the program's terminal (if any), and how to wait."""

    def __init__(self) -> None:
        self.master = -1

    def wait(self, pid: int) -> int:
        """Carry the terminal and forward signals until `pid`, our child, ends; return its exit code."""
        pidfd = process.pidfd_open(pid)
        for number in _FORWARDED:
            signal.signal(number, lambda received, _frame: _forward(pidfd, received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        saved = None
        if self.master >= 0 and os.isatty(0):
            saved = terminal.make_raw(0)
            signal.signal(signal.SIGWINCH, lambda _number, _frame: self._resize())
            self._resize()
        try:
            if self.master >= 0:
                self._carry(pidfd)
        finally:
            if saved is not None:
                terminal.restore(0, saved)
        status = os.waitpid(pid, 0)[1]
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # nobody is left to get them; we still clean up
        os.close(pidfd)
        return process.exit_code(status)

    def _resize(self) -> None:
        terminal.set_size(self.master, *terminal.size(0))

    def _carry(self, pidfd: int) -> None:
        waiting = select.poll()
        for descriptor in (0, self.master, pidfd):
            waiting.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if self.master in ready and not _copy(self.master, 1):
                return
            if 0 in ready and not _copy(0, self.master):
                waiting.unregister(0)
            if pidfd in ready and self.master not in ready:
                return


@contextlib.contextmanager
def foreground(options: Options) -> Iterator[Console]:
    """Check that the options make sense together, and provide the console."""
    if options.console_socket and not options.detach:
        raise InvalidParameter("cannot use console socket if runc will not detach or allocate tty")
    console = Console()
    if not options.detach:  # one that comes before the program is there to get it waits until `wait`
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        yield console
    finally:
        if console.master >= 0:
            os.close(console.master)


def hand_over(master: int, socket_path: str, console: Console | None) -> None:
    """Give the terminal to the caller's console socket, or keep it for the foreground."""
    if socket_path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.connect(socket_path)
            socket.send_fds(channel, [b"terminal"], [master])
        os.close(master)
    elif console is not None:
        console.master = master
    else:
        os.close(master)
        raise InvalidParameter("cannot allocate tty if runc will detach without setting console socket")


def _forward(pidfd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.pidfd_send_signal(pidfd, number)


def _copy(source: int, target: int) -> bool:
    """Copy what is there; False at the end (a terminal's end is EIO)."""
    try:
        data = os.read(source, 65536)
    except OSError:
        return False
    rest = data
    while rest:
        rest = rest[os.write(target, rest) :]
    return bool(data)
