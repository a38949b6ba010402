"""The keys by which a user leaves an attached container: "ctrl-p,ctrl-q" as clients write it, as bytes.

Source: moby/term, ToBytes: single characters, or `ctrl-` with a letter or one of `@ [ \\ ] ^ _`, separated
by commas.
"""

import string

from minidock.errors import InvalidParameter

DEFAULT = b"\x10\x11"
CONTROLS = "@" + string.ascii_lowercase + "[\\]^_"
"""The position of a character is the control code it stands for."""


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes that the terminal sends for `text`; the default for an empty text."""
    if not text:
        return DEFAULT
    return bytes(_key(part, text) for part in text.split(","))


def _key(part: str, text: str) -> int:
    if len(part) == 1 and ord(part) < 128:
        return ord(part)
    control = part.removeprefix("ctrl-").lower()
    if part.startswith("ctrl-") and len(control) == 1 and control in CONTROLS:
        return CONTROLS.index(control)
    raise InvalidParameter(f"Invalid detach keys ({text}) provided: {part!r} is not a key")
