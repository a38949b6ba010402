"""What this version of minidock serves, read from its own tables: the verbs of the command line, the routes
of the API. Nobody writes coverage down, so nobody forgets to.
"""

from collections.abc import Callable
from typing import Any

from docs.made import source
from minidock.api import unserved
from minidock.api.routes import ROUTES
from minidock.cli.commands import VERBS

ALL = {f"{method} {pattern}": function for method, pattern, function in ROUTES}


def refusal(function: Callable[..., Any]) -> str:
    """Return how a route's function refuses, "" when it serves: `later`, `absent`, `swarm` and so on."""
    if function.__module__ != unserved.__name__:
        return ""
    return function.__qualname__.partition(".")[0]


def is_served(need: str) -> bool:
    """Tell whether a route (`POST /commit`), a verb of our command line (`minidock cp`) or the package
    `registry` is there; KeyError when no table has ever heard of it.
    """
    if need == "registry":
        return need in source.packages()
    program, _, verb = need.partition(" ")
    if program == "minidock":
        return verb in VERBS
    return not refusal(ALL[need])


def missing(needs: str) -> list[str]:
    """Return those of comma-separated needs that are not served."""
    return [need for need in (part.strip() for part in needs.split(",")) if need and not is_served(need)]
