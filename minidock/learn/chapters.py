"""The chapters on disk: which functions each replaces, its checks, mutants and hints.

A chapter is a directory `chapters/NN-name` of the checkout; nothing of it is copied into the package, so
that a page, its grader and the engine's function are always of one version. `seam.toml` is the only file
that is read to know a chapter.
"""

import importlib.util
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import minidock
from minidock.errors import NotFound

PLANNED = {
    5: "cgroups, v1 and v2 side by side",
    6: "users, capabilities, seccomp",
    7: "layers and whiteouts",
    8: "images, repositories, commit",
    9: "pull",
    10: "registry and push",
    11: "veth and bridge",
    12: "published ports, NAT, DNS",
    13: "volumes",
    14: "the life of a container",
    15: "build",
    16: "the Engine API",
}


@dataclass(frozen=True)
class Seam:
    """One function that the learner writes: the engine's `module:function`, or the chapter's own file."""

    module: str
    function: str
    own: bool = False  # true: no engine has it, `module` is a path below the chapter's directory

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function}"


@dataclass(frozen=True)
class Survivor:
    """A statement whose loss no check can see, and why that is right."""

    function: str
    statement: str
    reason: str


@dataclass(frozen=True)
class Chapter:
    """What `seam.toml` says, with the directory it stands in."""

    number: int
    directory: Path
    title: str
    question: str
    seams: tuple[Seam, ...]
    hints: tuple[tuple[str, ...], ...]  # one triple per step: nudge, explanation, almost the code
    road: tuple[str, str] | None = None  # ("module:function", file): what `run --with` must replace beside
    show: str = "docker run --rm hostbox echo hi"  # a command in which the learner's functions run
    survivors: tuple[Survivor, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def functions(self) -> list[str]:
        return [seam.function for seam in self.seams]

    def checks(self) -> list[Callable[..., None]]:
        """Return the checks in their order; each takes a Bench."""
        module = _load(self.directory / "check.py", f"minidock_chapter_{self.number}_check")
        return [value for name, value in vars(module).items() if name.startswith("check_")]


def directory() -> Path:
    """Return the directory of all chapters; NotFound when minidock was installed without its checkout."""
    found = Path(minidock.__file__).resolve().parent.parent / "chapters"
    if not found.is_dir():
        raise NotFound(f"there are no chapters at {found}: run minidock from a checkout")
    return found


def written() -> list[Chapter]:
    """Return the chapters that can be graded, in their order."""
    return [load(path.parent) for path in sorted(directory().glob("*/seam.toml"))]


def chapter(number: int) -> Chapter:
    """Return one chapter; NotFound names those that are there."""
    found = {each.number: each for each in written()}
    if number == 0:
        raise NotFound(f"chapter 0 has nothing to write or to grade: read its page, {walk()}")
    if number not in found:
        planned = f" (planned: {PLANNED[number]})" if number in PLANNED else ""
        numbers = ", ".join(map(str, found))
        raise NotFound(f"there is no chapter {number} yet{planned}; written are {numbers}")
    return found[number]


def walk() -> Path:
    """Return the page of chapter 0."""
    return directory() / "00-the-walk" / "README.md"


def load(path: Path) -> Chapter:
    """Read one chapter's `seam.toml`."""
    data: dict[str, Any] = tomllib.loads((path / "seam.toml").read_text())
    return Chapter(
        number=int(path.name.partition("-")[0]),
        directory=path,
        title=data["title"],
        question=data["question"],
        seams=tuple(_seam(name) for name in data["seams"]),
        hints=tuple(tuple(step) for step in data["hints"]),
        road=tuple(data["road"]) if "road" in data else None,
        show=data.get("show", Chapter.show),
        survivors=tuple(Survivor(**each) for each in data.get("survivor", ())),
    )


def _seam(name: str) -> Seam:
    module, _, function = name.partition(":")
    return Seam(module, function, own=module.endswith(".py"))


def _load(path: Path, name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def learner_folder(given: str | None) -> Path:
    """Return the learner's own folder: `given`, or ~/minidock-learn of the person behind sudo."""
    if given:
        return Path(given).expanduser().absolute()
    person = os.environ.get("SUDO_USER", "")
    return Path(os.path.expanduser(f"~{person}")) / "minidock-learn"
