"""The measurements as a table for people and as JSON for whoever compares runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure import Result

SCALES = {"ms": 1000.0, "s": 1.0, "MB": 1e-6}


def table(results: Sequence[Result], contestants: Sequence[str]) -> str:
    """Return medians and ratios; `x 5.0` beside a peer means that minidock needs a fifth of it."""
    rows = [["work", "unit", "minidock", *contestants, "to reach"]]
    notes = []
    for result in results:
        cells = [_cell(result, "minidock"), *(_cell(result, name) for name in contestants)]
        rows.append([result.title, result.unit, *cells, result.target])
        notes += [f"{result.title}: {name} left out: {reason}" for name, reason in result.skipped.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *notes])


def document(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """Return everything that was measured as JSON; seconds and bytes."""
    rows = [
        {
            "work": result.title,
            "unit": "bytes" if result.unit == "MB" else "seconds",
            "to_reach": result.target,
            "medians": {name: result.median(name) for name in result.samples},
            "ratios_to_minidock": {
                name: result.ratio(name)
                for name in result.samples
                if name != "minidock" and result.ratio(name)
            },
            "samples": result.samples,
            "left_out": result.skipped,
        }
        for result in results
    ]
    return json.dumps({"machine": dict(machine), "rows": rows}, indent=2) + "\n"


def _cell(result: Result, name: str) -> str:
    if name not in result.samples:
        return "left out" if name in result.skipped else "-"
    median = result.median(name) * SCALES[result.unit]
    shown = f"{median:.1f}" if median < 100 else f"{median:.0f}"
    ratio = result.ratio(name)
    return shown if name == "minidock" or ratio is None else f"{shown} (x {ratio:.1f})"
