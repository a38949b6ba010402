"""What an upperdir changes, listed while it is found."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine import diff
from minidock.storage import names
from minidock.storage.lowers import is_whiteout


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A tree below, an upperdir above it, and in it some of everything that can happen to a name."""
    upper, below = tmp_path / "upper", tmp_path / "below"
    for path in ("same/deep/er", "kept", "opaque/gone", "replaced", "mode"):
        (below / path).mkdir(parents=True)
    for path in ("same/deep/er/file", "same/deep/er/old", "kept/file", "opaque/old", "removed", "replaced/x"):
        (below / path).write_text("below")
    for path in ("same/deep/er", "kept", "opaque", "new/in/side", "mode"):
        (upper / path).mkdir(parents=True)
    os.utime(below / "kept/file", (5, 5))
    (upper / "kept/file").write_text("below")
    os.utime(upper / "kept/file", (5, 5))
    for path in ("same/deep/er/file", "opaque/again", "new/a", "new/in/side/b", "replaced"):
        (upper / path).write_text("above, and longer")
    for path in ("removed", "same/deep/er/old", "new/nothing", "new/in/nothing"):
        os.mknod(upper / path, 0o020000, 0)
        assert is_whiteout(os.stat(upper / path))
    os.setxattr(upper / "opaque", "trusted.overlay.opaque", b"y")
    (upper / "mode").chmod(0o700)
    opened = [os.open(tree, os.O_RDONLY | os.O_DIRECTORY) for tree in (upper, below)]
    yield opened[0], opened[1]
    for descriptor in opened:
        os.close(descriptor)


EXPECTED = [
    ("/mode", diff.MODIFIED),
    ("/new", diff.ADDED),
    ("/new/a", diff.ADDED),
    ("/new/in", diff.ADDED),
    ("/new/in/side", diff.ADDED),
    ("/new/in/side/b", diff.ADDED),
    ("/opaque", diff.MODIFIED),
    ("/opaque/again", diff.ADDED),
    ("/opaque/gone", diff.DELETED),
    ("/opaque/old", diff.DELETED),
    ("/removed", diff.DELETED),
    ("/replaced", diff.MODIFIED),
    ("/same", diff.MODIFIED),
    ("/same/deep", diff.MODIFIED),
    ("/same/deep/er", diff.MODIFIED),
    ("/same/deep/er/file", diff.MODIFIED),
    ("/same/deep/er/old", diff.DELETED),
]


def test_a_directory_comes_before_what_is_in_it(trees: tuple[int, int]) -> None:
    assert [(change.path, change.kind) for change in diff.compare(*trees)] == EXPECTED


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_great_directories_are_compared_some_names_at_a_time(
    trees: tuple[int, int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "NAMES_AT_ONCE", at_once)
    monkeypatch.setattr(names, "KEPT_NAMES", 1)
    assert [(change.path, change.kind) for change in diff.compare(*trees)] == EXPECTED


def test_the_first_changes_are_known_before_the_last_are_looked_for(
    trees: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    status = diff._status
    monkeypatch.setattr(diff, "_status", lambda top, path: asked.append(path) or status(top, path))  # type: ignore[func-returns-value]
    found = [(change.path, change.kind) for change in itertools.islice(diff.compare(*trees), 3)]
    assert found == EXPECTED[:3]
    assert not any(path.startswith(("opaque", "same")) for path in asked)
