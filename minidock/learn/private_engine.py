"""The daemon of `learn run`: `python -m minidock.learn.private_engine SOCKET NAME=FILE...` in its sandbox.

It is `minidock daemon --replace NAME=FILE ...`, and besides, the same functions are replaced in the
daemon's own process: some that a chapter teaches run there and not in the spawner.
"""

import os
import sys

from minidock.api import daemon
from minidock.learn import canary
from minidock.learn.tree import SCRATCH
from minidock.runtime import spawner


def main(arguments: list[str]) -> int:
    """Run the daemon; return its exit status."""
    socket, *replacements = arguments
    options = ["-H", f"unix://{socket}", "--data-root", f"{SCRATCH}/data", "--exec-root", f"{SCRATCH}/exec"]
    for replacement in replacements:
        name, _, path = replacement.partition("=")
        module, _, function = name.partition(":")
        try:
            spawner.replace(module, function, path)
        except ImportError as error:
            print(f"{canary.UNLOADED}{error}", file=sys.stderr)
            return 1
        options += ["--replace", replacement]
    os.makedirs(f"{SCRATCH}/exec", exist_ok=True)
    return daemon.main(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
