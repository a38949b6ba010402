"""Durations, sizes and times in the words that Docker prints (its go-units library)."""

from __future__ import annotations

import time

DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def duration(seconds: float) -> str:
    """Return about how long `seconds` is: `Less than a second`, `5 minutes`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    minutes = int(seconds / 60)
    hours = int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < limit * 24:
            return f"{hours // 24 // unit} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(timestamp: int) -> str:
    """Return how long ago the Unix time `timestamp` was; nothing was created at 0."""
    return f"{duration(time.time() - timestamp)} ago" if timestamp > 0 else "N/A"


def local_time(timestamp: int) -> str:
    """Return a Unix time as Go prints a time.Time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(timestamp))


def rfc3339(timestamp: int) -> str:
    """Return a Unix time as RFC 3339 in the local zone."""
    local = time.localtime(timestamp)
    offset = time.strftime("%z", local)
    zone = "Z" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + zone


def nanosecond_time(time_ns: int) -> str:
    """Return a Unix time in nanoseconds as `docker events` prints it, in the local zone."""
    seconds, rest = divmod(time_ns, 10**9)
    plain = rfc3339(seconds)
    return f"{plain[:19]}.{rest:09d}{plain[19:]}"


def go_time(text: str) -> str:
    """Return a time of RFC 3339 in UTC as Go prints a time.Time."""
    return text.replace("T", " ", 1).replace("Z", " +0000 UTC", 1) if text.endswith("Z") else text


def size(number: float, digits: int = 4) -> str:
    """Return bytes in powers of 1000 with `digits` significant digits: `4.26MB`."""
    return _scaled(number, 1000.0, DECIMAL, digits)


def binary_size(number: float) -> str:
    """Return bytes in powers of 1024: `23.54GiB`."""
    return _scaled(number, 1024.0, BINARY, 4)


def _scaled(number: float, base: float, names: tuple[str, ...], digits: int) -> str:
    index = 0
    while number >= base and index < len(names) - 1:
        number /= base
        index += 1
    return f"{number:.{digits}g}{names[index]}"


def ellipsis(text: str, width: int) -> str:
    """Cut `text` to `width` characters, the last of which says that there was more."""
    return text if len(text) <= width else text[: width - 1] + "…"


def short_id(identifier: str) -> str:
    """Return the 12 digits that people type."""
    return identifier.removeprefix("sha256:")[:12]
