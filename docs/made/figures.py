"""The figures: each is drawn from what the code says or from what a run was seen to do, never by hand.

`life` from the transition table, `layers` from the imports, `processes` from a recording of live processes
(docs/recorded/processes.json, made and checked by tests/docs/test_core_path.py's recording).
"""

import ast
import itertools
import json
from collections.abc import Callable
from typing import Any

from docs.made import source
from docs.made.svg import CHARACTER, Drawing, edge_of

ROLE_NAMES = {
    "cli": "command line",
    "daemon": "daemon",
    "spawner": "spawner",
    "shim": "shim",
    "init": "init, which becomes the program",
}
RECORDED = source.CHECKOUT / "docs" / "recorded"


def transitions() -> dict[tuple[str, str], str]:
    """Return TABLE of minidock/engine/transitions.py, read from its source."""
    for node in source.tree("minidock.engine.transitions").body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TABLE" and node.value:
            table: dict[tuple[str, str], str] = ast.literal_eval(node.value)
            return table
    raise source.UnknownReference("minidock.engine.transitions has no TABLE")


def life() -> str:
    """Draw the life of a container: a box for each status, an arrow for each verb that changes it."""
    table = transitions()
    rows = _by_distance(table)
    half, row_height = (54.0, 27.0), 130.0
    width = max(560.0, 158.0 * max(len(row) for row in rows))
    center = {
        status: (width * (column + 0.5) / len(row), 45 + row_height * index)
        for index, row in enumerate(rows)
        for column, status in enumerate(row)
    }
    verbs: dict[tuple[str, str], list[str]] = {}
    for (status, verb), following in table.items():
        verbs.setdefault((status, following), []).append(verb)
    drawing = Drawing(width, 45 + row_height * (len(rows) - 1) + 125, "The life of a container")
    for (begin, end), names in verbs.items():
        if begin != end:
            _draw_change(drawing, center[begin], center[end], half, (end, begin) in verbs, ", ".join(names))
    for status, (x, y) in center.items():
        drawing.box(x - half[0], y - half[1], 2 * half[0], 2 * half[1])
        stays = verbs.get((status, status), [])
        drawing.text(x, y + (0 if stays else 5), status, "name")
        if stays:
            drawing.text(x, y + 16, ", ".join(stays), "small")
    return drawing.render()


def _draw_change(
    drawing: Drawing,
    begin: tuple[float, float],
    end: tuple[float, float],
    half: tuple[float, float],
    both_ways: bool,
    label: str,
) -> None:
    """Draw the arrow between two statuses: straight or bent, and below the boxes when they share a row."""
    if begin[1] == end[1]:
        to_the_right = end[0] > begin[0]
        start = (begin[0] + (14 if to_the_right else -14), begin[1] + half[1])
        stop = (end[0] + (-14 if to_the_right else 14), end[1] + half[1] + 2)
        deep = 30 + abs(end[0] - begin[0]) / 12 + (26 if both_ways and to_the_right else 0)
        drawing.curve(start, stop, -deep if to_the_right else deep, label)
        return
    leave, arrive = edge_of(begin, half, end), edge_of(end, half, begin)
    drawing.curve(leave, _short_of(arrive, begin), 18 if both_ways else 0, label)


def _short_of(point: tuple[float, float], origin: tuple[float, float]) -> tuple[float, float]:
    dx, dy = origin[0] - point[0], origin[1] - point[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1
    return point[0] + dx / length * 3, point[1] + dy / length * 3


def _by_distance(table: dict[tuple[str, str], str]) -> list[list[str]]:
    """Return the statuses in rows: `created` first, then what one verb leads to, and so on."""
    rows, known = [["created"]], {"created"}
    while rows[-1]:
        reached = [
            following for status in rows[-1] for (before, _), following in table.items() if before == status
        ]
        rows.append(list(dict.fromkeys(status for status in reached if status not in known)))
        known |= set(rows[-1])
    return rows[:-1]


def layers() -> str:
    """Draw the packages of minidock above what they import."""
    edges = {
        pair: count
        for pair, count in source.imports().items()
        if pair[0] not in ("learn", "explain") and pair[1] not in ("learn", "explain")
    }
    depth = _depths(edges)
    edges = _without_implied(edges)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for package, level in sorted(depth.items()):
        rows[level].append(package)
    width, row_height, half = 620.0, 96.0, (78.0, 25.0)
    height = row_height * len(rows) + 70
    center = {
        package: (width * (column + 0.5) / len(row), height - 105 - row_height * level)
        for level, row in enumerate(rows)
        for column, package in enumerate(row)
    }
    drawing = Drawing(width, height, "The layers of the code, and what imports what")
    for (above, below), _ in sorted(edges.items()):
        begin = edge_of(center[above], half, center[below])
        end = _short_of(edge_of(center[below], half, center[above]), center[above])
        drawing.line(*begin, *end, "faint")
    for package, (x, y) in center.items():
        drawing.box(x - half[0], y - half[1], 2 * half[0], 2 * half[1])
        drawing.text(x, y - 2, package, "name")
        count = sum(module.startswith(f"minidock.{package}.") for module in source.modules())
        drawing.text(x, y + 15, f"{count} modules, {source.lines_of(package):,} lines", "small")
    shared = [m.split(".")[1] for m in source.modules() if m.count(".") == 1]
    shared = [name for name in shared if name not in source.packages()]
    drawing.box(20, height - 48, width - 40, 34, "soft")
    drawing.text(width / 2, height - 26, f"{', '.join(shared)}: what all may import", "small")
    return drawing.render()


def _without_implied(edges: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Leave out an import where a longer way leads to the same package."""

    def reaches(begin: str, end: str) -> bool:
        return (begin, end) in edges or any(reaches(below, end) for above, below in edges if above == begin)

    return {
        (above, below): count
        for (above, below), count in edges.items()
        if not any(reaches(other, below) for begin, other in edges if begin == above and other != below)
    }


def _depths(edges: dict[tuple[str, str], int]) -> dict[str, int]:
    """Return each package's height above the packages that import nothing: the longest way down."""
    below: dict[str, set[str]] = {}
    for above, target in edges:
        below.setdefault(above, set()).add(target)
        below.setdefault(target, set())

    def height(package: str, path: tuple[str, ...]) -> int:
        if package in path:
            raise ValueError(f"the imports run in a circle: {' -> '.join((*path, package))}")
        return max((1 + height(target, (*path, package)) for target in below[package]), default=0)

    return {package: height(package, ()) for package in below}


def processes() -> str:
    """Draw the processes of one running container, as they were recorded, with what each has of its own."""
    recorded: list[dict[str, Any]] = json.loads((RECORDED / "processes.json").read_text())
    width, row_height, box_width, step = 500.0, 116.0, 400.0, 28.0
    drawing = Drawing(width, row_height * len(recorded) - 12, "The processes of one running container")
    for index, process in enumerate(recorded):
        x, y = 8 + step * index, 8 + row_height * index
        own = process["own_namespaces"]
        drawing.box(x, y, box_width, 76, "inside" if own else "box")
        drawing.text(x + 14, y + 22, process["role"], "name", "start")
        drawing.text(x + box_width - 14, y + 22, process["threads"], "small", "end")
        drawing.text(x + 14, y + 43, process["runs"], "small", "start")
        words = f"namespaces of its own: {', '.join(own)}" if own else "in the host's namespaces"
        drawing.text(x + 14, y + 62, words, "small", "start")
        if index + 1 < len(recorded):
            middle = y + row_height + 38
            drawing.line(x + 14, y + 76, x + 14, middle, head=False)
            drawing.line(x + 14, middle, x + step - 2, middle)
            drawing.text(x + 26, y + 101, recorded[index + 1]["begins"], "small", "start")
    return drawing.render()


def hand_overs() -> str:
    """Draw how one `run` passes from process to process: the functions that each calls for the first time."""
    functions: list[list[str]] = json.loads((RECORDED / "core-path.json").read_text())["functions"]
    parts = [
        (role, [name for _, name in rows]) for role, rows in itertools.groupby(functions, lambda row: row[0])
    ]
    lanes = list(dict.fromkeys(role for role, _ in parts))
    width, row_height, left = 640.0, 40.0, 60.0
    gap = (width - 2 * left) / max(1, len(lanes) - 1)
    where = {role: left + gap * index for index, role in enumerate(lanes)}
    drawing = Drawing(width, 60 + row_height * len(parts), "One run, from process to process")
    for role in lanes:
        drawing.box(where[role] - 46, 8, 92, 30)
        drawing.text(where[role], 28, role, "name")
        drawing.line(where[role], 38, where[role], drawing.height - 6, "faint", head=False)
    before = ""
    for index, (role, names) in enumerate(parts):
        x, y = where[role], 66 + row_height * index
        if before:
            drawing.line(where[before], y - row_height + 10, x, y - 12)
        drawing.box(x - 4, y - 12, 8, 24, "mark")
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        words = names[0].removeprefix("minidock.") + more
        to_the_right = x + len(words) * CHARACTER * 0.86 + 16 < width
        drawing.text(
            x + (12 if to_the_right else -12), y + 4, words, "label small", "start" if to_the_right else "end"
        )
        before = role
    return drawing.render()


FIGURES: dict[str, Callable[[], str]] = {
    "life": life,
    "layers": layers,
    "processes": processes,
    "hand-overs": hand_overs,
}
