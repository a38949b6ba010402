"""Environments are made once and made again when what they hold must change."""

from pathlib import Path

import pytest

from setup import environment
from setup.privilege import Refused


def test_an_environment_is_ready_once_made_and_only_for_what_it_holds(tmp_path: Path) -> None:
    python, target = environment.base_python(), tmp_path / "venv"
    assert not environment.is_ready(target, python, [])
    lines = ["import sys; sys.minidock_was_here = True"]
    environment.make(target, python, [], lines)
    assert environment.is_ready(target, python, [], lines)
    assert not environment.is_ready(target, python, ["msgspec"], lines)
    assert not environment.is_ready(target, python, [])
    assert list(environment.packages_directory(target).glob("*.pth"))


def test_an_interrupted_environment_is_not_ready(tmp_path: Path) -> None:
    python, target = environment.base_python(), tmp_path / "venv"
    environment.make(target, python, [])
    (target / environment.STAMP).write_text('{"python"')
    assert not environment.is_ready(target, python, [])


@pytest.mark.parametrize("chosen", ["no-such-python", "/bin/true", "/etc/passwd"])
def test_something_that_is_no_python_is_refused(chosen: str) -> None:
    with pytest.raises(Refused, match=r"is not a Python 3\.11 or later"):
        environment.resolve(chosen)


def test_the_requirements_are_those_of_pyproject() -> None:
    plain, with_tests = environment.requirements(), environment.requirements("test")
    assert any(line.startswith("msgspec") for line in plain)
    assert set(plain) < set(with_tests)
