"""The query string of a request, read as Docker reads it.

Clients disagree about form: the docker CLI sends `1` and `{"status":{"running":true}}`, docker-py `True`
and `{"status": ["running"]}`. Both mean the same here. Source: moby's api/server/httputils/form.go and
api/types/filters.
"""

import json
from urllib.parse import parse_qsl

from minidock.errors import InvalidParameter

FALSE_WORDS = ("", "0", "no", "false", "none")

Filters = dict[str, list[str]]


class Query:
    """The decoded parameters of one request; a repeated parameter keeps all its values."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[str]] = {}
        if text:
            for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
                self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        return self._values.get(name, [default])[0]

    def texts(self, name: str) -> list[str]:
        """Return every value of a repeated parameter."""
        return list(self._values.get(name, []))

    def boolean(self, name: str, default: bool = False) -> bool:
        """Return a flag: `0`, `no`, `false`, `none` in any case and nothing are false, all else is true."""
        if name not in self._values:
            return default
        return self.text(name).strip().lower() not in FALSE_WORDS

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Return a whole number, `default` when absent or empty; InvalidParameter names a bad one."""
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise InvalidParameter(f"invalid value for {name}: {text!r} is not a number") from None

    def time_ns(self, name: str) -> int | None:
        """Return `seconds[.fraction]` since 1970 as nanoseconds; None when absent, empty or 0."""
        text = self.text(name)
        if text in ("", "0"):
            return None
        seconds, _, fraction = text.partition(".")
        if not seconds.removeprefix("-").isdecimal() or (fraction and not fraction.isdecimal()):
            raise InvalidParameter(f"invalid value for {name}: {text!r} is not a time in seconds since 1970")
        return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)

    def filters(self) -> Filters:
        """Return the `filters` parameter in one form; which names exist is for the engine to say."""
        text = self.text("filters")
        if not text:
            return {}
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidParameter("invalid filters: not a JSON object") from None
        if not isinstance(document, dict):
            raise InvalidParameter("invalid filters: not a JSON object")
        return {name: _filter_values(name, values) for name, values in document.items()}


def _filter_values(name: str, values: object) -> list[str]:
    if isinstance(values, dict):
        return [str(value) for value, wanted in values.items() if wanted]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return values
    raise InvalidParameter(f"invalid filter {name!r}: its values must be a list of words")
