"""The steps of a set-up: found out first, shown as a list, then done in order.

A step that is already done is not in the list, so the second run shows none and touches neither apt nor the
network.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from setup import client, environment, packages, places, privilege, program


@dataclass(frozen=True)
class Step:
    """One change to the machine: what it is in a user's words, whether it needs root, and the act."""

    text: str
    root: bool
    act: Callable[[], object]


def for_demo(python: str) -> list[Step]:
    """Return what is missing before the demo can run."""
    steps = [*_packages(python), *_docker_client()]
    wanted = environment.requirements()
    if not environment.is_ready(places.ENVIRONMENT, python, wanted):
        text = f"make a Python environment in {places.ENVIRONMENT} ({python}), download minidock's libraries"
        steps.append(Step(text, True, lambda: privilege.root_step("environment", python)))
        steps.append(_program("copy minidock there"))
    elif not program.is_current():
        steps.append(_program(f"renew the copy of minidock in {places.SYSTEM}"))
    return steps


def for_tests(python: str, oracles: bool = False, fresh_machine: bool = False) -> list[Step]:
    """Return what is missing before the tests can run."""
    steps = _packages(python)
    if oracles:
        what = "install the judges of --oracles, with service starts denied"
        steps += _install(what, packages.missing_of(packages.ORACLES))
    if fresh_machine:
        what = "install what --fresh-machine makes its root with"
        steps += _install(what, packages.missing_of(packages.ROOT_BUILDER))
    steps += _docker_client()
    target, wanted = places.test_environment(python), environment.requirements("test")
    if not environment.is_ready(target, python, wanted, _path_lines(target)):
        text = (
            f"make a Python environment for the tests in {target} (with {python}), download their libraries"
        )
        steps.append(Step(text, False, lambda: environment.make(target, python, wanted, _path_lines(target))))
    return steps


def carry_out(steps: list[Step], command: str, then: str | None) -> None:
    """Show the list, make sure of root, and do the steps in order.

    `then` says what the command will do with root when set-up is complete, if anything.
    """
    if steps:
        print(f"{command} sets up what is missing on this machine:")
        for number, step in enumerate(steps, 1):
            print(f"  {number}. {'[root] ' if step.root else ''}{step.text}")
        print(f"Afterwards: [root] {then}.\n" if then else "", flush=True)
    if any(step.root for step in steps):
        privilege.require(command, "for the steps marked [root]")
    elif then:
        privilege.require(command, f"to {then}")
    for number, step in enumerate(steps, 1):
        print(f"[{number}/{len(steps)}] {step.text} ...", flush=True)
        step.act()
    if steps:
        print("Set-up is complete.\n", flush=True)


def _packages(python: str) -> list[Step]:
    names = packages.missing()
    if environment.lacks_venv(python) and os.path.realpath(python).startswith("/usr/bin/"):
        names.append("python3-venv")
    return _install("install Debian packages that minidock itself needs", names)


def _install(what: str, names: Sequence[str]) -> list[Step]:
    if not names:
        return []
    text = f"{what}: {' '.join(names)}"
    return [Step(text, True, lambda: privilege.root_step("packages", *names))]


def _docker_client() -> list[Step]:
    if client.find() is not None:
        return []
    steps = []
    if client.package() is None:
        steps.append(Step("fetch the package lists", True, lambda: privilege.root_step("lists")))
    text = f"unpack the docker client from Debian's package into {places.docker_client().parent}"
    return [*steps, Step(text, False, client.unpack)]


def _program(text: str) -> Step:
    links = " and ".join(str(places.LINKS / name) for name in environment.project()["scripts"])
    return Step(f"{text}, with links {links}", True, lambda: privilege.root_step("program"))


def _path_lines(target: Path) -> list[str]:
    """Return the .pth lines of the tests' environment: the checkout, and bytecode kept out of it.

    The prefix hides the bytecode of the standard library too, so whoever imports first must write it:
    compiling all that the daemon imports takes a second of each start.
    """
    compiled = target / "pycache"
    return [
        str(places.CHECKOUT),
        f"import sys; sys.pycache_prefix = {str(compiled)!r}; sys.dont_write_bytecode = False",
    ]
