"""The route table against what Docker documents, and against names with slashes and colons."""

import re
from typing import Any

import pytest

from minidock.api import containers, images
from minidock.api.routes import ROUTES, Router
from minidock.errors import NotFound


def test_every_documented_operation_has_a_row(schema: Any) -> None:
    router = Router(ROUTES)
    missing = []
    for method, path in schema.paths():
        try:
            router.find(method, re.sub(r"\{\w+\}", "x", path))
        except NotFound:
            missing.append(f"{method} {path}")
    assert missing == []


@pytest.mark.parametrize(
    ("method", "path", "function", "arguments"),
    [
        ("GET", "/images/localhost:5000/a:3/json", images.inspect, ("localhost:5000/a:3",)),
        ("GET", "/images/a/b/c@sha256:0f/json", images.inspect, ("a/b/c@sha256:0f",)),
        ("POST", "/images/localhost:5000/a:3/tag", images.tag, ("localhost:5000/a:3",)),
        ("DELETE", "/images/localhost:5000/a:3", images.remove, ("localhost:5000/a:3",)),
        ("GET", "/images/json", images.list_all, ()),
        ("GET", "/images/json/json", images.inspect, ("json",)),
        ("GET", "/containers//named/json", containers.inspect, ("/named",)),
        ("DELETE", "/containers/x", containers.remove, ("x",)),
    ],
)
def test_names_are_matched_whole(method: str, path: str, function: Any, arguments: tuple[str, ...]) -> None:
    assert Router(ROUTES).find(method, path) == (function, arguments)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("PUT", "/containers/x/json"),
        ("GET", "/containers//"),
        ("GET", "/images//json/"),
        ("GET", ""),
    ],
)
def test_what_is_not_in_the_table_is_not_found(method: str, path: str) -> None:
    with pytest.raises(NotFound, match="page not found"):
        Router(ROUTES).find(method, path)


def test_no_row_is_shadowed_by_another() -> None:
    router = Router(ROUTES)
    for method, pattern, function in ROUTES:
        found, _ = router.find(method, re.sub(r"\{\w+\}", "0x0", pattern))
        assert found is function, (method, pattern)
