"""Conversions of flag values: sizes, durations, decimals. ValueError carries the words that docker uses."""

from __future__ import annotations

_SUFFIXES = "bkmgtp"
_UNITS_NS = {
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "µs": 10**3,
    "ns": 1,
}


def byte_size(text: str) -> int:
    """Return bytes for `64m`, `1.5g`, `128MiB`, `100`: powers of 1024, decimals allowed."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    suffix = text[len(number) :].strip().lower()
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if value < 0 or not number.replace(".", "", 1).isdecimal():
        raise ValueError(f"invalid size: '{text}'")
    if not suffix:
        return int(value)
    if (
        suffix[0] not in _SUFFIXES
        or suffix[1:] not in ("", "b", "ib")
        or (suffix[0] == "b" and suffix != "b")
    ):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(value * 1024 ** _SUFFIXES.index(suffix[0]))


def swap_size(text: str) -> int:
    """Like `byte_size`, and -1 for no limit."""
    return -1 if text == "-1" else byte_size(text)


def duration_ns(text: str) -> int:
    """Return nanoseconds for Go's durations: `1m30s`, `1.5h`, `300ms`, `-5s`."""
    sign = -1 if text.startswith("-") else 1
    rest = text.lstrip("+-")
    if rest == "0":
        return 0
    total = 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("hmsunµ"))
        unit, rest = rest[:letters], rest[letters:]
        if not number or number == "." or number.count(".") > 1:
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: {"missing unit" if not rest else "unknown unit"} in duration "{text}"')
        if unit not in _UNITS_NS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS_NS[unit]
    return sign * round(total)


def nano_cpus(text: str) -> int:
    """Return billionths of a processor for `--cpus 0.5`."""
    mantissa, power, exponent = text.lower().partition("e")
    if power and exponent.removeprefix("-").removeprefix("+").isdecimal():
        from decimal import Decimal, InvalidOperation  # nobody writes this: it may cost its import

        try:
            text = f"{Decimal(mantissa).scaleb(int(exponent)):f}"
        except InvalidOperation:
            pass
    whole, _, fraction = text.partition(".")
    digits = (whole + fraction).removeprefix("-")
    if not digits.isdecimal():
        raise ValueError(f"failed to parse {text} as a rational number")
    if len(fraction.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    return (
        int((whole or "0") + fraction[:9].ljust(9, "0"))
        if whole not in ("-",)
        else -int(fraction.ljust(9, "0"))
    )


def bounded(low: int, high: int, kind: str = "Uint") -> Converter:
    """Return a conversion to an integer between `low` and `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise ValueError(f'strconv.Parse{kind}: parsing "{text}": invalid syntax') from None
        if not low <= value <= high:
            raise ValueError(f'strconv.Parse{kind}: parsing "{text}": value out of range')
        return value

    return convert


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Converter = Callable[[str], int]
