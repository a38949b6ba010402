"""The Python side of `./demo` and `./test`: choose the command.

This file must still parse on a Python that is too old for the rest, so that its user reads a sentence and no
traceback.
"""

import os
import sys


def main():  # type: ignore[no-untyped-def]  # annotations would not parse everywhere
    if sys.version_info < (3, 11):  # noqa: UP036  (the one place that meets an older Python)
        return (
            "minidock needs Python 3.11 or later, but " + sys.executable + " is " + sys.version.split()[0]
            + ": name another one, as in PYTHON=/path/to/python3 ./demo"
        )  # fmt: skip
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from setup import command

    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[no-untyped-call]
