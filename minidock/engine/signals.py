"""Signals by the names that users type: KILL, SIGKILL, 9, RTMIN+3.

signal(7); the names are the kernel's, so a name means the same number as inside the container.
"""

import signal as standard

from minidock.errors import InvalidParameter

MAXIMUM = 64


def number(text: str) -> int:
    """Return the number of the signal `text`; InvalidParameter in Docker's words."""
    if text.isascii() and text.isdecimal():
        value = int(text) if len(text) < 4 else 0
        if 1 <= value <= MAXIMUM:
            return value
        raise InvalidParameter(f"Invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+" if "+" in name else "-")
    if base in ("RTMIN", "RTMAX") and (not sign or offset.isdecimal()):
        start = 34 if base == "RTMIN" else MAXIMUM  # libc keeps 32 and 33 for itself
        value = start + int(f"{sign}{offset}" or 0)
        if 34 <= value <= MAXIMUM:
            return value
    found = getattr(standard, f"SIG{name}", None)
    if not isinstance(found, standard.Signals):
        raise InvalidParameter(f"Invalid signal: {text}")
    return int(found)
