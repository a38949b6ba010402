"""Help texts, drawn from the same tables that parse: what `--help` promises is what the parser accepts.

Layout and wrapping follow docker's, so that the two can be read side by side.
"""

from __future__ import annotations

import os

from minidock.cli.failure import PROGRAM
from minidock.cli.flags import HELP, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SLACK = 5  # docker leaves this much free before the right margin when it breaks a line
INSPECT_FORMAT = (
    "Format output using a custom template:\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
    "Refer to https://docs.docker.com/go/formatting/ for more information "
    "about formatting output with templates"
)
FORMAT = INSPECT_FORMAT.replace(
    "'json'",
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json'",
    1,
)
LONG_TEXTS = {"FORMAT": FORMAT, "INSPECT_FORMAT": INSPECT_FORMAT}


def command_help(command: Command, name: str) -> str:
    """Return what `minidock NAME --help` prints."""
    parts = [f"Usage:  {PROGRAM} {name} {command.synopsis}".rstrip(), command.about]
    if command.aliases:
        spelled = ", ".join(f"{PROGRAM} {alias}" for alias in command.aliases.split(", "))
        parts.append(f"Aliases:\n  {spelled}")
    if command.flags:
        flags = list(command.flags)
        if any(flag.short == "h" for flag in flags):
            flags.append(HELP)  # elsewhere --help goes without saying, here -h is taken
        parts.append("Options:\n" + flag_lines(flags))
    return "\n\n".join(parts) + "\n"


def flag_lines(flags: Iterable[Flag], width: int | None = None) -> str:
    """Return the aligned and wrapped list of flags, by name."""
    rows: list[tuple[str, str]] = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        head = f"  -{flag.short}, --{flag.name}" if flag.short else f"      --{flag.name}"
        about = LONG_TEXTS.get(flag.about, flag.about)
        shown = f" (default {flag.shown})" if flag.shown else ""
        rows.append((head + ("" if flag.kind == "bool" else f" {flag.kind}"), about + shown))
    column = max(len(head) for head, _ in rows) + 3
    width = width or _terminal_width() - 1
    return "\n".join(f"{head:<{column}}{wrap(text, column, width)}" for head, text in rows)


def wrap(text: str, indent: int, width: int) -> str:
    """Break `text` at blanks to fit between columns `indent` and `width`; keep its own line breaks."""
    room = width - indent - SLACK
    if room < 24 - SLACK:
        return text.replace("\n", "\n" + " " * indent)
    lines: list[str] = []
    rest = text
    while rest:
        line, rest = _first_line(rest, room)
        lines += line.split("\n")
    return ("\n" + " " * indent).join(lines)


def _first_line(text: str, room: int) -> tuple[str, str]:
    if len(text) < room + SLACK:
        return text, ""
    blank = max(text.rfind(character, 0, room) for character in " \t\n")
    if blank <= 0:
        return text, ""
    newline = text.rfind("\n", 0, room)
    cut = newline if 0 < newline < blank else blank
    return text[:cut], text[cut + 1 :]


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(0).columns or 80
    except OSError:
        return 80
