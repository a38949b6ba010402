"""A learner's file, loaded: its functions in the engine's place, and the engine's own out of reach.

Before the file is loaded, the functions that it is to write are taken out of the engine. So a file that
imports the engine's function, or calls it, has not written it, and finds that out.
"""

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from minidock.learn.chapters import Chapter, Seam


@dataclass(frozen=True)
class Piece:
    """The text of a learner's file and where it stands (for messages)."""

    path: str
    text: str


class NotYours(Exception):
    """A function of the chapter is missing, or is not written in the learner's file."""


def load(piece: Piece, chapter: Chapter) -> types.SimpleNamespace:
    """Load the file, put its functions in the engine's place, and return them by name.

    Raises NotYours, or whatever the file raises while it is loaded. For a process of its own: the engine's
    modules are changed.
    """
    engine = {seam: _take_out(seam) for seam in chapter.seams if not seam.own}
    module = types.ModuleType("piece")
    module.__file__ = piece.path
    exec(compile(piece.text, piece.path, "exec"), module.__dict__)
    written: dict[str, Any] = {}
    for seam in chapter.seams:
        function = getattr(module, seam.function, None)
        if function is None:
            raise NotYours(f"{piece.path} has no function {seam.function}")
        code = getattr(function, "__code__", None)
        if code is None or code.co_filename != piece.path:
            raise NotYours(f"{seam.function} in {piece.path} comes from somewhere else: write it yourself")
        written[seam.function] = function
        if seam in engine:
            put(engine[seam], seam.function, function)
    return types.SimpleNamespace(**written)


def _take_out(seam: Seam) -> Callable[..., NoReturn]:
    """Replace the engine's function by one that only says whose task it is; return that."""
    old = getattr(importlib.import_module(seam.module), seam.function)

    def taken_out(*_arguments: Any, **_named: Any) -> NoReturn:
        raise NotYours(f"{seam.name} is the function that this chapter asks you to write: do not call it")

    put(old, seam.function, taken_out)
    return taken_out


def put(old: object, name: str, new: object) -> None:
    """Put `new` in the place of `old` wherever a module of the engine knows it as `name`."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("minidock.") and vars(module).get(name) is old:
            setattr(module, name, new)
