"""Container and exec identifiers: 64 hexadecimal digits, of which users type the first few.

A name that is all digits could be taken for a process id by tools, so such a short id is drawn again (Docker
does too).
"""

import secrets

SHORT_LENGTH = 12


def random_id() -> str:
    """Return a fresh 64-digit identifier whose short form is not a number."""
    while True:
        identifier = secrets.token_hex(32)
        if not identifier[:SHORT_LENGTH].isdecimal():
            return identifier


def short(identifier: str) -> str:
    """Return the 12 digits that tables show; a `sha256:` prefix is left out."""
    return identifier.removeprefix("sha256:")[:SHORT_LENGTH]
