"""The functions of Docker's templates, and how Go prints and judges values.

Go's `fmt` prints a map as `map[k:v]` and a list as `[a b]`; users paste such output into scripts, so it is
kept. Sources: Go text/template "Functions"; docker/cli `templates` (json, split, join, title, lower, upper,
pad, truncate).
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FunctionError(Exception):
    """A function refused its arguments; the template adds where."""


def show(value: Any) -> str:
    """Return `value` as Go's `%v` prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_nested(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(_nested, value)) + "]"
    if isinstance(value, float):
        return format(value, "g")
    return str(value)


def _nested(value: Any) -> str:
    return "<nil>" if value is None else show(value)


def is_true(value: Any) -> bool:
    """Return Go's truth: false, 0, nil and anything empty are false."""
    return bool(value)


def to_json(value: Any) -> str:
    """Encode as the `json` function does, without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_html_safe_json(value: Any) -> str:
    """Encode as Go's json.Marshal: `<`, `>` and `&` are escaped so that the text is safe inside HTML."""
    text = to_json(value)
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def quote(text: str) -> str:
    """Return `text` as a Go string literal, `%q`."""
    return json.dumps(text, ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(str(key), "")
        elif isinstance(value, (list, tuple, str)):
            if isinstance(key, bool) or not isinstance(key, int):
                raise FunctionError(f"cannot index slice/array with type {type(key).__name__}")
            if not 0 <= key < len(value):
                raise FunctionError(f"index out of range: {key}")
            value = value[key]
        elif value is None:
            raise FunctionError("index of untyped nil")
        else:
            raise FunctionError(f"can't index item of type {type(value).__name__}")
    return value


def _length(value: Any) -> int:
    if not isinstance(value, (dict, list, str)):
        raise FunctionError("len of nil pointer" if value is None else f"len of type {type(value).__name__}")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _printf(pattern: str, *arguments: Any) -> str:
    result: list[str] = []
    rest = list(arguments)
    position = 0
    while position < len(pattern):
        percent = pattern.find("%", position)
        if percent < 0:
            result.append(pattern[position:])
            break
        result.append(pattern[position:percent])
        end = percent + 1
        while end < len(pattern) and pattern[end] in "+-# 0123456789.":
            end += 1
        verb, position = pattern[end : end + 1], end + 1
        if verb == "%":
            result.append("%")
        elif not rest:
            result.append(f"%!{verb}(MISSING)")
        else:
            result.append(_verb(pattern[percent:end], verb, rest.pop(0)))
    if rest:
        result.append("%!(EXTRA " + ", ".join(show(item) for item in rest) + ")")
    return "".join(result)


def _verb(flags: str, verb: str, value: Any) -> str:
    if verb in ("s", "v"):
        return f"{flags}s" % show(value)
    if verb == "q":
        return f"{flags}s" % quote(show(value))
    if verb == "t" and isinstance(value, bool):
        return f"{flags}s" % show(value)
    if verb in "dxXoc" and isinstance(value, int) and not isinstance(value, bool):
        return f"{flags}{verb}" % value
    if verb in "feEgG" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{flags}{verb}" % value
    if verb == "x" and isinstance(value, str):
        return value.encode().hex()
    return f"%!{verb}({show(value)})"


def _and(*values: Any) -> Any:
    for value in values:
        if not is_true(value):
            return value
    return values[-1]


def _or(*values: Any) -> Any:
    for value in values:
        if is_true(value):
            return value
    return values[-1]


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for other in others:
        if first is not None and other is not None and isinstance(first, str) != isinstance(other, str):
            raise FunctionError("incompatible types for comparison")
    return any(first == other for other in others)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(first: Any, second: Any) -> bool:
        if isinstance(first, str) != isinstance(second, str) or isinstance(first, (dict, list, type(None))):
            raise FunctionError("incompatible types for comparison")
        return test(first, second)

    return compare


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {type(value).__name__}")
    return value


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _title(text: str) -> str:
    return "".join(
        character.upper()
        if index == 0 or not (text[index - 1].isalnum() or text[index - 1] == "_")
        else character
        for index, character in enumerate(_text(text))
    )


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, (str, list)):
        raise FunctionError(f"can't slice item of type {type(value).__name__}")
    start, end = (*bounds, 0, len(value))[0] if bounds else 0, bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise FunctionError(f"index out of range: {end}")
    return value[start:end]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "eq": _equal,
    "ge": _compare(lambda first, second: bool(first >= second)),
    "gt": _compare(lambda first, second: bool(first > second)),
    "index": _index,
    "join": lambda items, separator: _text(separator).join(show(item) for item in items or ()),
    "json": to_json,
    "le": _compare(lambda first, second: bool(first <= second)),
    "len": _length,
    "lower": lambda text: _text(text).lower(),
    "lt": _compare(lambda first, second: bool(first < second)),
    "ne": lambda first, second: not _equal(first, second),
    "not": lambda value: not is_true(value),
    "or": _or,
    "pad": _pad,
    "print": lambda *values: "".join(map(_nested, values)),
    "printf": _printf,
    "println": lambda *values: " ".join(map(_nested, values)) + "\n",
    "slice": _slice,
    "split": lambda text, separator: _text(text).split(separator) if separator else list(text),
    "title": _title,
    "truncate": lambda text, length: _text(text)[:length],
    "upper": lambda text: _text(text).upper(),
}
