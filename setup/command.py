"""The commands `./demo`, `./test` and the root steps that both of them start."""

import sys
from collections.abc import Sequence

from setup import demo, environment, packages, places, program, suite, uninstall
from setup.privilege import Refused


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    command, rest = arguments[0], list(arguments[1:])
    commands = {"demo": demo.main, "test": suite.main, "root": root}
    try:
        return commands[command](rest)
    except Refused as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def root(arguments: Sequence[str]) -> int:
    """Run one step as root; the steps are named in setup/plan.py."""
    verb, rest = arguments[0], list(arguments[1:])
    match verb:
        case "lists":
            packages.update()
        case "packages":
            packages.install(rest)
        case "environment":
            environment.make(places.ENVIRONMENT, rest[0], environment.requirements())
        case "program":
            program.install()
        case "play":
            return demo.play(rest[0])
        case "uninstall":
            uninstall.take_back(rest[0], data="--data" in rest[1:], force="--force" in rest[1:])
        case _:
            raise Refused(f"no such step: {verb}")
    return 0
