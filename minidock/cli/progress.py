"""The engine's progress messages: one line for each layer on a terminal, a log anywhere else."""

from __future__ import annotations

import os
import sys

from minidock.cli import quickjson
from minidock.cli.failure import Failure
from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

BAR_WIDTH = 50
COLUMNS_FOR_BAR = 110


def show(lines: Iterable[bytes], out: TextIO | None = None) -> None:
    """Print the messages as they arrive; raise Failure for an error among them, after what came before it."""
    out = out or sys.stdout
    display = _Terminal(out) if out.isatty() else _Log(out)
    for line in lines:
        if not line.strip():
            continue
        message = quickjson.decode(line)
        if "error" in message:
            code = (message.get("errorDetail") or {}).get("code", 1)
            raise Failure(str(message["error"]), code or 1)
        display.show(message)
    out.flush()


class _Log:
    """Not a terminal: no bars, every other message on a line of its own."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def show(self, message: dict[str, Any]) -> None:
        if "stream" in message:
            self.out.write(message["stream"])
        elif "status" in message and not message.get("progressDetail"):
            self.out.write(_text(message) + "\n")


class _Terminal:
    """A terminal: the line of an id is rewritten in place by moving the cursor up and down again."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.rows: dict[str, int] = {}

    def show(self, message: dict[str, Any]) -> None:
        identifier = message.get("id")
        if "stream" in message:
            self.rows.clear()
            self.out.write(message["stream"])
        elif not identifier:
            self.rows.clear()
            ending = "\r" if message.get("progressDetail") else "\n"
            self.out.write(f"\x1b[2K\r{_text(message, self._columns())}{ending}")
        else:
            if identifier not in self.rows:
                self.rows[identifier] = len(self.rows)
                self.out.write("\n")
            up = len(self.rows) - self.rows[identifier]
            self.out.write(f"\x1b[{up}A\x1b[2K\r{_text(message, self._columns())}\r\x1b[{up}B")
        self.out.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self.out.fileno()).columns
        except (OSError, ValueError):  # no real terminal
            return COLUMNS_FOR_BAR + 1


def _text(message: dict[str, Any], columns: int = 0) -> str:
    prefix = f"{message['id']}: " if message.get("id") else ""
    return prefix + str(message.get("status", "")) + _bar(message.get("progressDetail") or {}, columns)


def _bar(detail: dict[str, Any], columns: int) -> str:
    """Draw how much is done; on a narrow terminal only the numbers."""
    current, total = detail.get("current", 0), detail.get("total", 0)
    if not current:
        return ""
    if not total:
        return f" {size(current):>8}"
    filled = min(BAR_WIDTH, BAR_WIDTH * current // total)
    bar = f"[{'=' * filled}>{' ' * (BAR_WIDTH - filled)}] " if columns > COLUMNS_FOR_BAR else ""
    return f" {bar}{size(current):>8}/{size(total)}"
