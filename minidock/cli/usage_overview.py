"""The overviews: what `minidock help` and `minidock container` print."""

from __future__ import annotations

from minidock.cli.commands import COMMON, GROUP_ABOUT, GROUPS, HIDDEN, VERBS, WORDS
from minidock.cli.failure import PROGRAM
from minidock.cli.usage import flag_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.cli.flags import Flag


def overview(flags: Iterable[Flag]) -> str:
    """Return the list of all verbs."""
    others = [verb for verb in VERBS if verb not in COMMON]
    return "\n\n".join(
        [
            f"Usage:  {PROGRAM} [OPTIONS] COMMAND",
            "Docker rebuilt in Python: a container engine one can read",
            "Common Commands:\n" + _lines([(verb, VERBS[verb][1]) for verb in COMMON]),
            "Management Commands:\n" + _lines(sorted(GROUP_ABOUT.items())),
            "Commands:\n" + _lines([(verb, VERBS[verb][1]) for verb in others]),
            "Global Options:\n" + flag_lines(flags),
            f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n",
        ]
    )


def group_help(group: str) -> str:
    """Return the list of a group's words."""
    shown = [(word, verb) for word, (_, verb) in sorted(GROUPS[group].items()) if word not in HIDDEN]
    rows = [(word, WORDS.get(f"{group} {word}") or WORDS.get(verb) or VERBS[verb][1]) for word, verb in shown]
    return (
        f"Usage:  {PROGRAM} {group} COMMAND\n\n{GROUP_ABOUT[group]}\n\nCommands:\n{_lines(rows)}\n\n"
        f"Run '{PROGRAM} {group} COMMAND --help' for more information on a command.\n"
    )


def _lines(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<11} {about}" for name, about in rows)
