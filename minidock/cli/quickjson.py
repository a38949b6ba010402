"""JSON at the price of its C half: importing the `json` package takes 7 ms, half of what `ps` takes.

CPython's `_json` does all the work in any case. Where it is missing, `json` is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _scan: Callable[[str, int], tuple[Any, int]]
    _quote: Callable[[str], str]

try:
    import _json
except ImportError:
    import json

    _scan = json.JSONDecoder().raw_decode
    _quote = json.dumps
else:

    class _Options:
        """What the scanner asks its decoder for: the defaults of json.loads."""

        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    _scan = _json.make_scanner(_Options())  # type: ignore[arg-type]
    _quote = _json.encode_basestring_ascii

_BLANKS = " \t\r\n"


def decode(data: bytes | str) -> Any:
    """Return the value of a whole JSON text; raise ValueError when it is none."""
    text = (data.decode() if isinstance(data, bytes) else data).strip(_BLANKS)
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    if end != len(text):
        raise ValueError("invalid JSON")
    return value


def encode(value: Any) -> str:
    """Return `value` as compact JSON."""
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quote(name)}:{encode(item)}" for name, item in value.items()]) + "}"
    return "[" + ",".join(map(encode, value)) + "]"
