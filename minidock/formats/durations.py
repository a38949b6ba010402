"""Durations in Go's form, as Docker's flags and filters take them: `1h30m`, `1.5s`, `100ms`.

Go's time.ParseDuration.
"""

import re

from minidock.errors import InvalidParameter

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_part = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def duration_ns(text: str) -> int:
    """Return a duration in nanoseconds; InvalidParameter names a bad one."""
    found = _part.findall(text)
    if text == "0":
        return 0
    if not found or len(text) > 64 or "".join(number + unit for number, unit in found) != text:
        raise InvalidParameter(f'time: invalid duration "{text}"')
    return int(sum(float(number) * _UNITS[unit] for number, unit in found))
