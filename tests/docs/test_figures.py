"""The figures say what the code says: every status and verb, every package, in SVG that a browser can
read.
"""

from xml.etree import ElementTree

import pytest

from docs.made import figures, served, source, tables
from minidock.api.routes import ROUTES
from minidock.cli.commands import VERBS
from minidock.engine.transitions import TABLE


def words(svg: str) -> list[str]:
    return [
        element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    ]


@pytest.mark.parametrize("name", sorted(figures.FIGURES))
def test_a_figure_is_well_formed_and_has_words(name: str) -> None:
    assert len(words(figures.FIGURES[name]())) > 5


def test_the_life_of_a_container_is_the_engines_table() -> None:
    assert figures.transitions() == TABLE
    shown = words(figures.life())
    assert {status for status, _ in TABLE} | set(TABLE.values()) <= set(shown)
    assert {verb for _, verb in TABLE} <= {word for text in shown for word in text.split(", ")}


def test_the_layers_are_the_packages_that_are_there() -> None:
    assert set(source.packages()) - {"learn", "explain"} <= set(words(figures.layers()))


def test_the_table_of_the_api_has_every_route_once() -> None:
    text = tables.api() + "\n" + tables.api_refused()
    for method, pattern, _ in ROUTES:
        assert text.count(f"| `{method} {pattern}` |") == 1


def test_a_refused_route_is_not_called_served() -> None:
    for route in ("POST /session", "POST /swarm/init"):
        assert not served.is_served(route)
        assert f"| `{route}` | {{fn}}" not in tables.api()
    assert served.is_served("GET /version")


def test_the_table_of_the_command_line_has_every_verb() -> None:
    assert all(f"| `{verb}` |" in tables.cli() for verb in VERBS)
