"""Our own terminal during `run -t`: raw mode, its size, and the keys that leave the container running.

In raw mode every key goes to the container, so the one way out of an interactive session is noticed here, in
the bytes on their way: ctrl-p ctrl-q unless `--detach-keys` says otherwise. termios(3).
"""

from __future__ import annotations

import contextlib
import os
import termios

from minidock.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


@contextlib.contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Pass every byte through unchanged during the block; does nothing when `descriptor` is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    saved = termios.tcgetattr(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    mode[1] &= ~termios.OPOST
    mode[2] = (mode[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, saved)


def window_size(descriptor: int) -> tuple[int, int]:
    """Return (rows, columns) of a terminal, (0, 0) when it is none."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return 0, 0
    return size.lines, size.columns


def key_sequence(text: str) -> bytes:
    """Return the bytes of `ctrl-p,ctrl-q` or `a,b`."""
    result = bytearray()
    for key in text.split(","):
        name = key.lower().removeprefix("ctrl-") if key.lower().startswith("ctrl-") else ""
        if len(key) == 1 and key.isascii():
            result += key.encode()
        elif key == "DEL":
            result.append(127)
        elif len(name) == 1 and "a" <= name <= "z":
            result.append(ord(name) - ord("a") + 1)
        elif name in _CONTROL:
            result.append(_CONTROL[name])
        else:
            raise Failure(f"invalid detach keys ({text}): Unknown character: '{key}'")
    return bytes(result)


class DetachKeys:
    """Watches for a key sequence; keys that may be its beginning are held back until the next one decides."""

    def __init__(self, sequence: bytes) -> None:
        self.sequence = sequence
        self.matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on and whether the sequence is complete."""
        passed = bytearray()
        for byte in data:
            if self.matched and byte != self.sequence[self.matched]:
                passed += self.sequence[: self.matched]
                self.matched = 0
            if byte != self.sequence[self.matched]:
                passed.append(byte)
                continue
            self.matched += 1
            if self.matched == len(self.sequence):
                return bytes(passed), True
        return bytes(passed), False
