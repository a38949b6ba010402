"""Dockerfile text into instructions: continued lines, comments, flags, and the JSON form of a command.

An instruction is known by its first word; what the rest means is the instruction's own business, so here it
stays text. `docker import --change` and `docker commit --change` give the same language, line by line.
Dockerfile reference, "Format" and "Parser directives".
"""

import json
import re
from dataclasses import dataclass

from minidock.errors import InvalidParameter

ESCAPE = "\\"
_directive = re.compile(r"\A#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*\Z")
_flag = re.compile(r"\A--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|\Z)")


@dataclass(frozen=True)
class Instruction:
    """One instruction: `name` in capitals, `flags` in their order, `text` all that follows them.

    `line` counts from 1; `source` is the whole instruction with its lines joined.
    """

    name: str
    text: str
    flags: tuple[tuple[str, str], ...] = ()
    line: int = 1
    source: str = ""
    escape: str = ESCAPE


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile; InvalidParameter when there is none."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape_directive(lines)
    continued = re.compile(rf"{re.escape(escape)}[ \t]*\Z")
    found: list[Instruction] = []
    pending, start = "", 0
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#") or (pending and not line.strip()):
            continue  # comments and empty lines do not end a continued instruction
        if not pending:
            start = number
        joined = pending + (line if pending else line.strip())
        if continued.search(joined):
            pending = continued.sub("", joined)
            continue
        pending = ""
        if joined.strip():
            found.append(_instruction(joined.strip(), start, escape))
    if pending.strip():
        found.append(_instruction(pending.strip(), start, escape))
    if not found:
        raise InvalidParameter("file with no instructions")
    return found


def json_words(text: str) -> list[str] | None:
    """Return the words of the JSON form (`["a", "b"]`), or None if `text` is not in it.

    InvalidParameter for a list of anything but strings.
    """
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidParameter("when using JSON array syntax, arrays must be comprised of strings only")
    return words


def _instruction(source: str, line: int, escape: str) -> Instruction:
    name = source.split(maxsplit=1)[0]
    rest = source[len(name) :].strip()
    flags: list[tuple[str, str]] = []
    while match := _flag.match(rest):
        flags.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    return Instruction(name.upper(), rest, tuple(flags), line, source, escape)


def _escape_directive(lines: list[str]) -> str:
    """Read the parser directives: comments of the form `# name=value` before anything else."""
    for line in lines:
        match = _directive.match(line.strip())
        if match is None:
            break
        if match[1].lower() == "escape":
            if match[2] not in (ESCAPE, "`"):
                raise InvalidParameter(f"invalid escape token '{match[2]}' does not match ` or \\")
            return match[2]
    return ESCAPE
