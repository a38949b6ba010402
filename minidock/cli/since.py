"""Points in time on the command line: `42m` ago, `2013-01-02T13:23:37Z`, `1357133017.5`."""

from __future__ import annotations

import time

from minidock.cli.failure import Failure
from minidock.cli.values import duration_ns

FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d")


def moment(text: str, name: str = "") -> str:
    """Return Unix seconds for what the user wrote; "" stays "" and a number stays as it is."""
    if not text or text.replace(".", "", 1).removeprefix("-").isdecimal():
        return text
    try:
        return str((time.time_ns() - duration_ns(text)) // 10**9)  # whole seconds, as Docker's
    except ValueError:
        pass
    try:
        return _date(text)
    except ValueError:
        where = f'invalid value for "{name}": ' if name else ""
        raise Failure(f'{where}failed to parse value as time or duration: "{text}"') from None


def _date(text: str) -> str:
    body, offset = text, None
    if text.endswith("Z"):
        body, offset = text[:-1], 0
    elif len(text) > 6 and text[-6] in "+-" and text[-3] == ":" and "T" in text:
        minutes = int(text[-5:-3]) * 60 + int(text[-2:])
        body, offset = text[:-6], (-minutes if text[-6] == "-" else minutes) * 60
    body, _, fraction = body.partition(".")
    for pattern in FORMATS:
        try:
            parsed = time.strptime(body, pattern)
        except ValueError:
            continue
        seconds = int(time.mktime(parsed)) if offset is None else _utc(parsed) - offset
        return f"{seconds}.{int((fraction or '0')[:9].ljust(9, '0')):09d}"
    raise ValueError(text)


def _utc(parsed: time.struct_time) -> int:
    import calendar

    return calendar.timegm(parsed)
