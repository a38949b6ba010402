"""The console blocks of the pages: what was typed and what it printed, as the tests run it.

A block is a fenced `{transcript}` in a page. Its options: `:needs:` lists routes or verbs without which it is
shown as not built yet and not run; `:terminal:` says that it is typed into a terminal, prompt by prompt. The
blocks of one page are run in order, on one engine.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from docs.made import served, source

DOCS = source.CHECKOUT / "docs"
FENCE = re.compile(r"^(`{3,})\{transcript\}\n((?::\w+:[^\n]*\n)*)(.*?)^\1$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block: its page below docs/, the line it begins in, its options and its text."""

    page: str
    line: int
    options: dict[str, str] = field(hash=False)
    text: str

    @property
    def missing(self) -> list[str]:
        return served.missing(self.options.get("needs", ""))

    @property
    def is_terminal(self) -> bool:
        return "terminal" in self.options


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(DOCS).as_posix()
    return [
        Block(name, text.count("\n", 0, found.start()) + 1, options(found[2]), found[3])
        for found in FENCE.finditer(text)
    ]


def options(lines: str) -> dict[str, str]:
    """Parse the `:name: value` lines of a block."""
    pairs = (line.strip(":\n").split(":", 1) for line in lines.splitlines())
    return {pair[0]: (pair[1] if len(pair) > 1 else "").strip() for pair in pairs}


def steps(text: str) -> list[tuple[str, str]]:
    """Split a block into command lines (with their here-documents) and what each is expected to print."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [_command_and_output(part) for part in parts]


def _command_and_output(part: str) -> tuple[str, str]:
    lines = part.splitlines(keepends=True)
    end = 1
    while end < len(lines) and lines[end].startswith("> "):
        end += 1
    here = re.search(r"<<'?(\w+)'?", lines[0])
    if here:
        end = next(n for n, line in enumerate(lines) if line.strip("> \n") == here[1]) + 1
    command = "".join(line.removeprefix("> ") for line in lines[:end])
    return command.removesuffix("\n"), "".join(lines[end:])


def pages() -> list[Path]:
    """Return the pages that have blocks."""
    return [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts and blocks(path)]
