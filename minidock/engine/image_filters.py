"""The filters that choose images, for `images` and for `image prune`.

Different filters must all fit; of several `reference` values one must, of several labels all. Docker Engine
API v1.50, GET /images/json and POST /images/prune.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from minidock.engine import times
from minidock.engine.events import has_label
from minidock.errors import InvalidParameter

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.images import Image

Filters = Mapping[str, Sequence[str]]
Test = Callable[["Image"], bool]
OF_LIST = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
OF_PRUNE = frozenset({"dangling", "label", "label!", "until"})


def test(engine: Engine, filters: Filters, known: Collection[str]) -> Test:
    """Return the test that an image must pass; InvalidParameter for a filter that is not among `known`."""
    for name in filters:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")
    tests = [_MAKERS[name](engine, values) for name, values in filters.items() if values]
    return lambda image: all(each(image) for each in tests)


def truth(name: str, values: Sequence[str]) -> bool:
    """Return what a filter with a yes or a no says; InvalidParameter in Docker's words."""
    wanted = {value.lower() for value in values}
    if len(wanted) == 1 and wanted <= {"true", "1", "false", "0"}:
        return bool(wanted & {"true", "1"})
    raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")


def until_ns(values: Sequence[str]) -> int:
    """Return the moment that `until` names; it may be given once."""
    if len(values) != 1:
        raise InvalidParameter("more than one until filter specified")
    return times.moment_ns(values[0])


def created_ns(image: Image) -> int:
    """Return nanoseconds since 1970; an image's own words may be anything, and then it is old."""
    try:
        return times.to_ns(image.created)
    except InvalidParameter:
        return 0


def _dangling(engine: Engine, values: Sequence[str]) -> Test:
    wanted = truth("dangling", values)
    return lambda image: bool(image.references) != wanted


def _label(engine: Engine, values: Sequence[str]) -> Test:
    return lambda image: all(has_label(image.config.execution.labels or {}, value) for value in values)


def _no_label(engine: Engine, values: Sequence[str]) -> Test:
    return lambda image: not any(has_label(image.config.execution.labels or {}, value) for value in values)


def fitting_names(names: Sequence[str], values: Sequence[str]) -> list[str]:
    """Return those names that a `reference` filter means, with or without their tag or digest."""
    patterns = [_pattern(value) for value in values]
    return [
        name
        for name in names
        if any(pattern.fullmatch(form) for pattern in patterns for form in (name, _repository(name)))
    ]


def _reference(engine: Engine, values: Sequence[str]) -> Test:
    fitting_names((), values)  # so that a bad pattern is told even if there is no image
    return lambda image: bool(fitting_names([*image.references, *image.digests], values))


def _before(engine: Engine, values: Sequence[str]) -> Test:
    mark = min(created_ns(engine.images.resolve(value)) for value in values)
    return lambda image: created_ns(image) < mark


def _since(engine: Engine, values: Sequence[str]) -> Test:
    mark = max(created_ns(engine.images.resolve(value)) for value in values)
    return lambda image: created_ns(image) > mark


def _until(engine: Engine, values: Sequence[str]) -> Test:
    limit = until_ns(values)
    return lambda image: created_ns(image) < limit


def _repository(name: str) -> str:
    return re.sub(r"(@.*|:[^:/]*)\Z", "", name)


def _pattern(text: str) -> re.Pattern[str]:
    """Translate a shell pattern whose `*` does not cross a slash."""
    translated = ""
    for piece in re.split(r"(\[\^?\]?[^\]]+\]|\\.|[*?])", text):
        if piece in ("*", "?"):
            translated += "[^/]*" if piece == "*" else "[^/]"
        elif piece.startswith("[") and piece.endswith("]"):
            translated += piece
        elif "[" in piece and not piece.startswith("\\"):
            raise InvalidParameter("syntax error in pattern")
        else:
            translated += re.escape(piece.removeprefix("\\"))
    try:
        return re.compile(translated)
    except re.error:
        raise InvalidParameter("syntax error in pattern") from None


_MAKERS: Mapping[str, Callable[[Engine, Sequence[str]], Test]] = {
    "before": _before,
    "dangling": _dangling,
    "label": _label,
    "label!": _no_label,
    "reference": _reference,
    "since": _since,
    "until": _until,
}
