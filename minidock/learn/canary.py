"""The proof that a learner's function ran in the engine: a counter that all its processes share.

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

ENTRY = struct.Struct("<QQ")  # calls, the last caller's pid (in its own pid namespace)


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
    return {name: ENTRY.unpack_from(data, index * ENTRY.size) for index, name in enumerate(functions)}


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
    specification.loader.exec_module(module)
    descriptor = os.open(page, os.O_RDWR | os.O_CLOEXEC)
    memory = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    for index, function in enumerate(functions):
        setattr(module, function, _counting(getattr(module, function), memory, (first + index) * ENTRY.size))
    return module


def _counting(function: Callable[..., Any], memory: mmap.mmap, offset: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        calls, _ = ENTRY.unpack_from(memory, offset)
        ENTRY.pack_into(memory, offset, calls + 1, os.getpid())
        return function(*arguments, **named)

    return call
