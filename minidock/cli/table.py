"""Columns as Docker draws them: a cell ends at a tab, a column is as wide as its widest cell plus three.

The rules are those of Go's text/tabwriter: the last cell of a line belongs to no column, and a column lasts
as long as consecutive lines have a cell in it.
"""

from __future__ import annotations

MINIMUM = 10
PADDING = 3


def align(text: str, minimum: int = MINIMUM) -> str:
    """Replace the tabs in `text` by blanks so that cells stand below each other."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _ in lines]
    _measure(lines, widths, 0, len(lines), 0, minimum)
    return "\n".join(
        "".join(f"{cell:<{width}}" for cell, width in zip(line, [*line_widths, 0], strict=True))
        for line, line_widths in zip(lines, widths, strict=True)
    )


def _measure(
    lines: list[list[str]], widths: list[list[int]], start: int, end: int, column: int, minimum: int
) -> None:
    """Fill in the widths of `column` and those to its right for the lines from `start` to `end`."""
    row = start
    while row < end:
        if len(lines[row]) - 1 <= column:
            row += 1
            continue
        block = row
        while row < end and len(lines[row]) - 1 > column:
            row += 1
        widest = max(len(line[column]) for line in lines[block:row])
        for line_widths in widths[block:row]:
            line_widths.append(max(widest + PADDING, minimum))
        _measure(lines, widths, block, row, column + 1, minimum)
