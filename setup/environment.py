"""Python environments: made once, stamped with what they hold, and rebuilt when that changes.

The stamp is written last, so an interrupted set-up is seen and done again. A stamp that matches costs two
file reads and no network: the second run of a command must be quick and work offline.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setup import places
from setup.privilege import Refused

DEBIAN_PYTHON = "/usr/bin/python3"
STAMP = "minidock-stamp.json"


def project() -> dict[str, Any]:
    """Return the `[project]` table of pyproject.toml."""
    with open(places.CHECKOUT / "pyproject.toml", "rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def requirements(*extras: str) -> list[str]:
    """Return what pyproject.toml asks for, with the given optional groups."""
    table = project()
    return [
        *table["dependencies"],
        *(line for extra in extras for line in table["optional-dependencies"][extra]),
    ]


def python_for_root(chosen: str | None) -> str:
    """Return the interpreter that root's copy shall use: the distribution's own where it is new enough.

    A root daemon on an interpreter in somebody's home directory would be that somebody's to change.
    """
    if chosen:
        return resolve(chosen)
    if _version(DEBIAN_PYTHON) >= [3, 11]:
        return DEBIAN_PYTHON
    return base_python()


def resolve(chosen: str) -> str:
    """Return the absolute path of an interpreter that a user named. Raises Refused when it cannot be used."""
    found = shutil.which(chosen)
    if found is None or _version(found) < [3, 11]:
        raise Refused(f"--python {chosen}: this is not a Python 3.11 or later.")
    return os.path.abspath(found)


def base_python() -> str:
    """Return the interpreter that runs us, seen through any virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside = os.path.join(sys.base_prefix, "bin", name)
    return inside if os.access(inside, os.X_OK) else sys.executable


def lacks_venv(python: str) -> bool:
    """Tell whether `python` is without ensurepip, which Debian ships in its own package."""
    return _run([python, "-c", "import ensurepip, venv"]).returncode != 0


def is_ready(directory: Path, python: str, wanted: Sequence[str], path_lines: Sequence[str] = ()) -> bool:
    """Tell whether the environment holds what is wanted, made by this interpreter in its present version."""
    try:
        stamp = json.loads((directory / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return bool(stamp == _stamp(python, wanted, path_lines))


def make(directory: Path, python: str, wanted: Sequence[str], path_lines: Sequence[str] = ()) -> None:
    """Make the environment anew; `path_lines` go into a .pth file, as the `site` module describes it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    _must([python, "-m", "venv", "--clear", str(directory)])
    inner = str(directory / "bin" / "python")
    pip = [
        inner,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "-q",
        "--prefer-binary",
    ]
    if wanted:
        _must([*pip, *wanted])
    if path_lines:
        (packages_directory(directory) / "minidock-checkout.pth").write_text("\n".join(path_lines) + "\n")
    (directory / STAMP).write_text(json.dumps(_stamp(python, wanted, path_lines), indent=2) + "\n")


def packages_directory(directory: Path) -> Path:
    """Return the site-packages of an environment."""
    return next(iter(sorted((directory / "lib").glob("python3*/site-packages"))))


def _stamp(python: str, wanted: Sequence[str], path_lines: Sequence[str]) -> dict[str, Any]:
    return {
        "python": os.path.realpath(python),
        "version": _version(python),
        "requirements": list(wanted),
        "path": list(path_lines),
    }


def _version(python: str) -> list[int]:
    answer = _run([python, "-I", "-S", "-c", "import sys; print(*sys.version_info[:3])"])
    return [int(part) for part in answer.stdout.split()] if answer.returncode == 0 else []


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _must(command: Sequence[str]) -> None:
    answer = _run(command)
    if answer.returncode:
        tail = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-12:])
        raise Refused(f"`{' '.join(command)}` failed; its last lines were:\n{tail}")
