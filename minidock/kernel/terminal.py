"""Pseudo-terminals: a master that we keep and a peer that the program takes for its terminal.

The peer is opened through the master (TIOCGPTPEER), never by the name /dev/pts/N, which means another
terminal in another mount namespace and can be a link in a hostile image. pty(7), ioctl_tty(2), termios(3).
"""

import errno
import fcntl
import os
import stat
import struct
import termios
from typing import Any

TIOCGPTPEER = 0x5441
TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
PTMX_DEVICE = os.makedev(5, 2)

Attributes = list[Any]  # as termios.tcgetattr returns them


def open_pty(ptmx_path: str) -> int:
    """Open a new, unlocked terminal of the devpts instance that `ptmx_path` belongs to; return its master."""
    master = os.open(ptmx_path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(master)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != PTMX_DEVICE:
            raise OSError(errno.ENOTTY, "not a pseudo-terminal multiplexer (character device 5:2)", ptmx_path)
        unlock(master)
    except BaseException:
        os.close(master)
        raise
    return master


def unlock(master: int) -> None:
    """Allow the peer of `master` to be opened (unlockpt(3)); doing it twice is harmless."""
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))


def number(master: int) -> int:
    """Return N of the peer's name /dev/pts/N in the devpts instance of `master`."""
    return int(struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, bytes(4)))[0])


def peer(master: int) -> int:
    """Open the program's side of `master`, without making it anybody's controlling terminal."""
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of a terminal; (0, 0) means that nobody has set them."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the size, through either side; the foreground process group gets SIGWINCH when it changes."""
    try:
        data = struct.pack("HHHH", rows, columns, 0, 0)
    except struct.error:
        raise OSError(
            errno.EINVAL, "a terminal has 0 to 65535 rows and columns", f"{rows}x{columns}"
        ) from None
    fcntl.ioctl(fd, termios.TIOCSWINSZ, data)


def make_controlling(fd: int) -> None:
    """Make `fd` the controlling terminal of the caller, who leads a session without one (after setsid(2))."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def make_raw(fd: int) -> Attributes:
    """Put the terminal into raw mode (cfmakeraw(3)) and return the attributes it had, for `restore`.

    Takes effect at once (TCSANOW): flushing would lose what the user has typed ahead.
    """
    saved = _attributes(fd)
    input_modes, output_modes, control_modes, local_modes, input_speed, output_speed, characters = saved
    input_modes &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    input_modes &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    output_modes &= ~termios.OPOST
    local_modes &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    control_modes = control_modes & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    restore(
        fd, [input_modes, output_modes, control_modes, local_modes, input_speed, output_speed, characters]
    )
    return saved


def restore(fd: int, saved: Attributes) -> None:
    """Give the terminal the attributes that `make_raw` returned."""
    try:
        termios.tcsetattr(fd, termios.TCSANOW, saved)
    except termios.error as error:  # not an OSError
        raise OSError(error.args[0], error.args[1], f"descriptor {fd}") from None


def _attributes(fd: int) -> Attributes:
    try:
        return termios.tcgetattr(fd)
    except termios.error as error:
        raise OSError(error.args[0], error.args[1], f"descriptor {fd}") from None
