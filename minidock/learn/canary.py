"""The proof that a learner's function ran in the engine, and what it raised: a page that all processes share.

A log file would not do: the functions run after the root has changed and after all descriptors are closed.
A page of shared memory needs neither path nor descriptor. mmap(2), MAP_SHARED.
"""

import functools
import importlib.util
import mmap
import os
import struct
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

UNLOADED = "your file cannot be loaded: "  # the engine's last words, when it was that
# calls, the last caller's pid (in its own pid namespace); the line of the last exception, and its words
ENTRY = struct.Struct("<QQQ232s")
_CALLS = struct.Struct("<QQ")
_RAISED = struct.Struct("<Q232s")


def counted(
    path: str, function: str, functions: Sequence[str], page: str, first: int = 0
) -> Callable[..., Any]:
    """Return `function` of the learner's file `path`, counting its calls in the file `page` from `first` on.

    All `functions` of the file are wrapped, so that their calls of each other are counted too.
    """
    found: Callable[..., Any] = getattr(_load(path, functions, page, first), function)
    return found


def read(page: int, functions: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (calls, last pid) of each function from the open file `page`."""
    data = os.pread(page, ENTRY.size * len(functions), 0)
    return {name: _CALLS.unpack_from(data, index * ENTRY.size) for index, name in enumerate(functions)}


def raised(page: int, functions: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return (line of its file, words) of the last exception of each function that let one out."""
    data = os.pread(page, ENTRY.size * len(functions), 0)
    found = {}
    for index, name in enumerate(functions):
        line, words = _RAISED.unpack_from(data, index * ENTRY.size + _CALLS.size)
        if line:
            found[name] = (line, words.rstrip(b"\0").decode(errors="replace"))
    return found


def make(page: str, functions: Sequence[str]) -> None:
    """Make the file of the counters, all zero."""
    with open(page, "wb") as file:
        file.write(bytes(ENTRY.size * len(functions)))


def _load(path: str, functions: Sequence[str], page: str, first: int) -> ModuleType:
    name = f"minidock_piece_{path.replace('/', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
        for function in functions:
            getattr(module, function)
    except Exception as error:
        del sys.modules[name]
        line = _line(error, path)
        where = f"line {line} of {path}" if line else path
        raise ImportError(f"{where}: {type(error).__name__}: {error}") from error
    descriptor = os.open(page, os.O_RDWR | os.O_CLOEXEC)
    memory = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    for index, function in enumerate(functions):
        counting = _counting(getattr(module, function), memory, (first + index) * ENTRY.size, path)
        setattr(module, function, counting)
    return module


def _counting(function: Callable[..., Any], memory: mmap.mmap, offset: int, path: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        calls, _ = _CALLS.unpack_from(memory, offset)
        _CALLS.pack_into(memory, offset, calls + 1, os.getpid())
        try:
            return function(*arguments, **named)
        except Exception as error:  # the engine's own message has no line, and it may not reach anybody
            words = f"{type(error).__name__}: {error}".encode()[:232]
            _RAISED.pack_into(memory, offset + _CALLS.size, _line(error, path), words)
            raise

    return call


def _line(error: BaseException, path: str) -> int:
    """Return the last line of the file `path` that the exception came through, 0 for none."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
