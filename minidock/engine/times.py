"""Times as Docker writes and reads them: RFC 3339 in UTC with nanoseconds whose trailing zeros are left out.

Python's datetime ends at microseconds, so the fraction is carried as an integer beside it. RFC 3339; Go's
RFC3339Nano.
"""

import re
import time
from datetime import UTC, datetime, timedelta, timezone

from minidock.engine.model import ZERO_TIME
from minidock.errors import InvalidParameter
from minidock.formats.durations import duration_ns

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))$"
)


def now() -> str:
    """Return the present moment as text."""
    return to_text(time.time_ns())


def now_in_seconds() -> str:
    """Return the present moment without its fraction, as Docker dates volumes."""
    return to_text(time.time_ns() // 1_000_000_000 * 1_000_000_000)


def to_text(time_ns: int) -> str:
    """Return nanoseconds since 1970 as text."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def to_ns(text: str) -> int:
    """Return the nanoseconds since 1970 of RFC 3339 `text`; InvalidParameter names the text."""
    match = _RFC3339.match(text)
    if not match:
        raise InvalidParameter(f"invalid time: {text!r} is not RFC 3339")
    sign = -1 if match[9] == "-" else 1
    offset = timedelta(hours=int(match[10] or 0), minutes=int(match[11] or 0)) * sign
    try:
        moment = datetime(*(int(match[n]) for n in range(1, 7)), tzinfo=timezone(offset))  # type: ignore[misc,arg-type]
    except ValueError as error:
        raise InvalidParameter(f"invalid time: {text!r}: {error}") from error
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * 1_000_000_000 + int((match[7] or "").ljust(9, "0"))


def moment_ns(text: str) -> int:
    """Return what a filter `until` means in nanoseconds since 1970: a duration before now, seconds since
    1970, or a date with or without a zone (then the host's); InvalidParameter in Docker's words.
    """
    try:
        return time.time_ns() - duration_ns(text)
    except InvalidParameter:
        pass
    try:
        if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
            seconds, _, fraction = text.partition(".")
            return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        if _RFC3339.match(text):
            return to_ns(text)
        return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, InvalidParameter):
        raise InvalidParameter(f'failed to parse value as time or duration: "{text}"') from None


def go_duration(seconds: float) -> str:
    """Return a duration as Go prints it: "1.5s", "500ms", "1m30s"."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"


def is_zero(text: str) -> bool:
    """Return whether `text` means "never"."""
    return text in ("", ZERO_TIME)


def human(seconds: float) -> str:
    """Return a duration in Docker's words: "5 seconds", "About a minute", "3 weeks" (go-units HumanDuration).

    Minutes are cut, hours rounded, and days and longer are counted from rounded hours: as Docker does.
    """
    minutes, hours = int(seconds // 60), int(seconds / 3600 + 0.5)
    if seconds < 60:
        return {0: "Less than a second", 1: "1 second"}.get(int(seconds), f"{int(seconds)} seconds")
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, word in (
        (24 * 14, 24, "days"),
        (24 * 60, 24 * 7, "weeks"),
        (24 * 730, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // unit} {word}"
    return f"{int(seconds // 3600) // 24 // 365} years"
