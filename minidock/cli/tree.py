"""`minidock images --tree`, as Docker drew it until 2014: which image stands on which.

Images that were built, committed or loaded from an archive of that time know their parents. Others (all that
come from a registry) know only their layers: for them the tree is made of the layers, and a node that is no
image here is `<missing>`.
"""

from __future__ import annotations

import sys

from minidock.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from minidock.cli.client import Client

WARNING = "Warning: '--tree' is deprecated, it will be removed soon. See usage."


class Node:
    """One line: an image of the engine's list, or a layer that no image here ends with."""

    __slots__ = ("children", "item", "total")

    def __init__(self, item: dict[str, Any], total: int | None) -> None:
        self.item = item
        self.total = total
        self.children: list[Node] = []

    def text(self, truncate: bool) -> str:
        """Return what stands on the line."""
        identifier = self.item.get("OldID") or self.item.get("Id", "<missing>").removeprefix("sha256:")
        words = str(identifier[:12] if truncate else identifier)
        if self.total is not None:
            words += f" Virtual Size: {_spaced(size(self.total))}"
        tags = [name for name in self.item.get("RepoTags") or () if name != "<none>:<none>"]
        return words + (f" Tags: {', '.join(tags)}" if tags else "")


def draw(client: Client, start: str, truncate: bool) -> int:
    """Print the trees of all images, or that of the image `start` (an ID, or a name with its tag)."""
    sys.stderr.write(f"{WARNING}\n")
    items = client.call("GET", "/images/json", {"all": True}) or []
    roots = grow(items, lambda item: _layers(client, item))
    if start:
        roots = [node for root in roots for node in _walk(root) if _is_meant(node.item, start)][:1]
    sys.stdout.writelines(f"{line}\n" for line in lines(roots, truncate))
    return 0


def grow(items: Sequence[dict[str, Any]], layers_of: Any) -> list[Node]:
    """Return the roots of the trees; children keep the order of the list.

    `layers_of` an image without a parent gives its layers, lowest first, as (DiffID, bytes or None).
    """
    nodes = {item["Id"]: Node(item, item["Size"]) for item in items}
    stacks = {item["Id"]: layers_of(item) for item in items if item.get("ParentId", "") not in nodes}
    ends: dict[tuple[str, ...], Node] = {}
    for identifier, stack in stacks.items():
        ends.setdefault(tuple(diff_id for diff_id, _ in stack), nodes[identifier])
    roots: list[Node] = []
    for item in items:
        node = nodes[item["Id"]]
        if item["Id"] not in stacks:
            nodes[item["ParentId"]].children.append(node)
            continue
        below = roots
        total: int | None = 0
        stack = stacks[item["Id"]]
        for height, (_, length) in enumerate(stack[:-1], 1):
            total = None if total is None or length is None else total + length
            key = tuple(diff_id for diff_id, _ in stack[:height])
            if key not in ends:
                ends[key] = Node({}, total)
                below.append(ends[key])
            below = ends[key].children
        below.append(node)
    return roots


def lines(nodes: Sequence[Node], truncate: bool, prefix: str = "") -> Iterator[str]:
    """Draw the branches: a line for each node, its children two columns further in."""
    for node in nodes:
        is_last = node is nodes[-1]
        yield f"{prefix}{'└─' if is_last else '├─'}{node.text(truncate)}"
        yield from lines(node.children, truncate, prefix + ("  " if is_last else "│ "))


def _layers(client: Client, item: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Return the layers of an image; their sizes are told by its history, if that has a step for each."""
    path = f"/images/{item['Id']}"
    diff_ids = (client.call("GET", f"{path}/json").get("RootFS") or {}).get("Layers") or []
    if len(diff_ids) < 2:
        return [(diff_id, item["Size"]) for diff_id in diff_ids]
    steps = [step["Size"] for step in reversed(client.call("GET", f"{path}/history") or [])]
    sizes = steps if len(steps) == len(diff_ids) else [length for length in steps if length]
    if len(sizes) != len(diff_ids):
        return [(diff_id, None) for diff_id in diff_ids]
    return list(zip(diff_ids, sizes, strict=True))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _is_meant(item: dict[str, Any], start: str) -> bool:
    identifiers = (item.get("Id", "").removeprefix("sha256:"), item.get("OldID", ""))
    plain = start.removeprefix("sha256:")
    return start in (item.get("RepoTags") or ()) or any(
        each and (each == plain or each[:12] == plain) for each in identifiers
    )


def _spaced(text: str) -> str:
    """Put the blank between number and unit that sizes had in 2014."""
    number = text.rstrip("BkMGTPEZY")
    return f"{number} {text[len(number) :]}"
