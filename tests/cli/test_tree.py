"""`images --tree`: the drawing of 2014, byte for byte, and what becomes of it when images go."""

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.cli.tree import WARNING, grow, lines
from tests import seed
from tests.cli.conftest import Run

Says = Callable[..., str]


def program() -> bytes:
    """Return the host's static busybox, so that a container of the graph's images can sleep."""
    path = shutil.which("busybox", path="/bin:/usr/bin")
    return Path(path).read_bytes() if path else b""


@pytest.fixture
def says(minidock: Run) -> Iterator[Says]:
    """Run minidock and return its output, after loading the page's images; they are removed at the end."""

    def run(*words: str, **options: Any) -> str:
        answer: subprocess.CompletedProcess[bytes] = minidock(*words, **options)
        run.error, run.status = answer.stderr.decode(), answer.returncode  # type: ignore[attr-defined]
        return answer.stdout.decode()

    graph = (*seed.GRAPH, *seed.SCRATCHED)
    run("load", input=seed.archive(graph, program()))
    assert run.error == ""  # type: ignore[attr-defined]
    yield run
    for name in run("ps", "-aq", "--filter", "name=seed-").split():
        run("rm", "-f", name)
    for image in reversed(graph):
        run("rmi", "-f", image.id)


def test_the_tree_is_drawn_as_the_page_shows_it(minidock: Run) -> None:
    minidock("load", input=seed.archive())
    try:
        drawn = minidock("images", "--tree", "511136ea3c5a")
        assert drawn.stdout.decode() == seed.TREE
        assert drawn.stderr.decode() == f"{WARNING}\n"
        part = minidock("images", "--tree", "ubuntu:lucid").stdout.decode()
        assert part == "└─3db9c44f4520 Virtual Size: 183 MB Tags: ubuntu:10.04, ubuntu:lucid\n"
        assert minidock("images", "--tree", "nope").stdout == b""
    finally:
        for image in reversed(seed.GRAPH):
            minidock("rmi", "-f", image.id)


def test_a_removed_leaf_takes_its_nameless_parents_along(says: Says) -> None:
    assert says("rmi", "cf8dc907452c") == ""
    assert "(cannot be forced) - image has dependent child images" in says.error  # type: ignore[attr-defined]
    assert says("rmi", "a7cf8ae4e998") == ""
    assert "(must be forced) - image is referenced in multiple repositories" in says.error  # type: ignore[attr-defined]
    known = {
        image: says("inspect", "-f", "{{.Id}}", image).strip() for image in ("ef519c9ee91a", "fe65a2781dae")
    }
    told = says("rmi", "ubuntu:12.10", "ubuntu:quantal").splitlines()
    assert told[:2] == ["Untagged: ubuntu:12.10", "Untagged: ubuntu:quantal"]
    assert f"Deleted: {known['ef519c9ee91a']}" in told
    assert len(told) == 2 + 4 * 2  # four images, four layers
    drawn = says("images", "--tree")
    assert not any(gone in drawn for gone in ("a7cf8ae4e998", "cf8dc907452c", "07302703becc", "ef519c9ee91a"))
    assert all(stays in drawn for stays in ("511136ea3c5a", "fe65a2781dae", "5e019ab7bf6d"))


def test_removing_five_fails_for_the_three_that_are_in_use(says: Says) -> None:
    for number, image in enumerate(seed.FIVE[:3]):
        says("create", "--name", f"seed-{number}", "--network", "none", image, "/bin/sh")
    told = says("rmi", *seed.FIVE).splitlines()
    assert says.status == 1  # type: ignore[attr-defined]
    errors = says.error.splitlines()  # type: ignore[attr-defined]
    assert len(errors) == 3
    assert all("(must be forced) - image is being used by stopped container" in line for line in errors)
    assert [line for line in told if line.startswith("Untagged")] == [
        "Untagged: test:latest",
        "Untagged: memchaced:latest",
    ]
    assert len(told) == 2 + 3 * 2  # ae5ae236a8e1 went with its child 5e1829f90d6e
    left = says("images", "-aq", "--no-trunc")
    for image in (*seed.FIVE[3:], "ae5ae236a8e1"):
        says("image", "inspect", image)
        assert says.status == 1  # type: ignore[attr-defined]
    assert left


def test_images_that_know_only_layers_hang_on_missing_ones() -> None:
    def item(identifier: str, total: int, parent: str = "", *tags: str) -> dict[str, Any]:
        return {"Id": f"sha256:{identifier * 64}", "ParentId": parent, "Size": total, "RepoTags": list(tags)}

    items = [item("a", 30, "", "a:1"), item("b", 15, "", "b:1"), item("c", 10), item("d", 40)]
    stacks = {
        "a": [("one", 10), ("two", 10), ("three", 10)],
        "b": [("one", 10), ("other", 5)],
        "c": [("one", 10)],
        "d": [("x", None), ("y", None)],
    }
    roots = grow(items, lambda each: stacks[each["Id"][7]])
    assert list(lines(roots, True)) == [
        f"├─{'c' * 12} Virtual Size: 10 B",
        "│ ├─<missing> Virtual Size: 20 B",
        f"│ │ └─{'a' * 12} Virtual Size: 30 B Tags: a:1",
        f"│ └─{'b' * 12} Virtual Size: 15 B Tags: b:1",
        "└─<missing>",
        f"  └─{'d' * 12} Virtual Size: 40 B",
    ]


def test_the_tree_of_a_real_image_has_the_sizes_of_its_layers(minidock: Run) -> None:
    layers = [seed.OldImage("a" * 12, "", 10), seed.OldImage("b" * 12, "a" * 12, 30, ("treetest:1",))]
    minidock("load", input=seed.archive(layers))
    saved = minidock("save", "treetest:1").stdout
    minidock("rmi", "treetest:1")
    minidock("load", input=io.BytesIO(saved).getvalue())
    try:
        identifier = minidock("images", "-q", "treetest:1").stdout.decode().strip()
        drawn = minidock("images", "--tree").stdout.decode()
        assert "─<missing> Virtual Size: 10 kB\n" in drawn
        assert f"  └─{identifier} Virtual Size: 30 kB Tags: treetest:1\n" in drawn
    finally:
        minidock("rmi", "treetest:1")
