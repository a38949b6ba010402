"""`make docs`: make the environment that the documentation is built in, then build it; a warning is an error.

    python3 docs/build.py [--python PATH]

The pages come to build/docs/. The environment lies in the cache of whoever calls, as that of ./test does; the
first run downloads it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))
sys.dont_write_bytecode = True

from setup import environment, places  # noqa: E402


def main() -> int:
    """Build the pages; return Sphinx's exit code."""
    parser = argparse.ArgumentParser(prog="make docs", allow_abbrev=False)
    parser.add_argument("--python", metavar="PATH", help="build with this Python, which has what is needed")
    options = parser.parse_args()
    python = options.python or made_environment()
    # -W: a warning is an error; --keep-going: show all of them first. -T prints a traceback of a failure.
    command = [python, "-B", "-m", "sphinx", "-W", "--keep-going", "-T", "-q", "-j", "auto"]
    places_of_pages = [str(TOP / "docs"), str(TOP / "build" / "docs")]
    code = subprocess.run([*command, "-b", "html", *places_of_pages], cwd=TOP, check=False).returncode
    if code == 0:
        print(f"{TOP}/build/docs/index.html")
    return code


def made_environment() -> str:
    """Return the Python of the documentation's own environment, made when it is missing."""
    python = environment.base_python()
    target = places.cache() / f"docs-{os.path.basename(str(places.test_environment(python)))}"
    wanted = environment.requirements("docs")
    if not environment.is_ready(target, python, wanted):
        print(f"making a Python environment for the documentation in {target}", flush=True)
        environment.make(target, python, wanted)
    return str(target / "bin" / "python")


if __name__ == "__main__":
    sys.exit(main())
