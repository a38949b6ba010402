"""The installed copy of minidock: what `minidock` and `sudo minidock` run, from any directory.

A copy, compiled ahead, in a root-owned place: root's daemon neither reads code that an ordinary account can
change nor leaves `__pycache__` in the checkout. `./demo` renews it whenever the sources differ.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from setup import environment, places, record, remains
from setup.privilege import Refused

# The chapters come along for `minidock learn`, which looks for them beside the package.
COPIED = ("minidock", "chapters")

# -S leaves `site` out, 5 ms of a command line's 20; the daemon takes it in again (minidock/cli/daemon.py).
LAUNCHER = """#!{python} -IS
import sys

sys.path.append({packages!r})
from {module} import {function}

sys.exit({function}())
"""


def source_digest() -> str:
    """Return one digest over everything that the copy is made from."""
    total = hashlib.sha256((places.CHECKOUT / "pyproject.toml").read_bytes())
    for path in (file for name in COPIED for file in sorted((places.CHECKOUT / name).rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(f"{path.relative_to(places.CHECKOUT)}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_current() -> bool:
    """Tell whether the installed copy is that of this checkout."""
    known = record.read()
    return known.source == source_digest() and bool(known.links) and all(map(os.path.exists, known.links))


def install() -> None:
    """Copy the package, compile it and link its commands (needs root)."""
    known = record.read()
    scripts: dict[str, str] = environment.project()["scripts"]
    for name in scripts:
        _refuse_foreign(places.LINKS / name)
    python = places.ENVIRONMENT / "bin" / "python"
    for name in COPIED:
        target = _renew(name)
        subprocess.run([python, "-m", "compileall", "-q", target], stdout=subprocess.DEVNULL, check=True)
    for name, entry in scripts.items():
        _link(name, entry, python)
    known.links = [str(places.LINKS / name) for name in scripts]
    known.source = source_digest()
    record.write(known)
    if pid := remains.engine(places.EXEC_ROOT, places.CGROUP_PARENT):
        print(f"An engine (pid {pid}) runs on with the copy that was there before. Its containers survive a")
        print(f"change: sudo kill {pid}, and the next minidock command starts the new one.", flush=True)


def _renew(name: str) -> Path:
    """Put a fresh copy of the checkout's folder `name` in the place of the old one; return it."""
    target = environment.packages_directory(places.ENVIRONMENT) / name
    fresh, old = target.with_name(f"{name}.new"), target.with_name(f"{name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(places.CHECKOUT / name, fresh, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    _own(fresh)
    if target.exists():
        os.rename(target, old)
    os.rename(fresh, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _link(name: str, entry: str, python: Path) -> None:
    module, function = entry.split(":")
    launcher = places.SYSTEM / "bin" / name
    launcher.parent.mkdir(mode=0o755, exist_ok=True)
    packages = str(environment.packages_directory(places.ENVIRONMENT))
    launcher.write_text(LAUNCHER.format(python=python, packages=packages, module=module, function=function))
    launcher.chmod(0o755)
    link = places.LINKS / name
    places.LINKS.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(launcher)


def _refuse_foreign(link: Path) -> None:
    ours = link.is_symlink() and os.readlink(link).startswith(f"{places.SYSTEM}/")
    if not ours and os.path.lexists(link):
        raise Refused(f"{link} exists and is not ours: move it away, then run this again.")


def _own(directory: Path) -> None:
    """Give the copy to root with ordinary modes, whatever the checkout's umask and owner were."""
    for parent, _, names in os.walk(directory):
        os.chown(parent, 0, 0)
        os.chmod(parent, 0o755)
        for name in names:
            path = os.path.join(parent, name)
            os.chown(path, 0, 0)
            os.chmod(path, 0o755 if os.access(path, os.X_OK) and os.stat(path).st_mode & 0o100 else 0o644)
