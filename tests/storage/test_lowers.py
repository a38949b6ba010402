"""What a stack of layers shows at a path, found without mounting it: the mount is the judge."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minidock.storage.lowers import LowerLayers
from minidock.storage.overlay import Stack, mount_overlay

PATHS = [
    "",
    "a",
    "a/b",
    "a/b/c",
    "gone",
    "gone/x",
    "opaque",
    "opaque/low",
    "opaque/high",
    "file",
    "file/x",
    "link",
    "link/b",
    "none",
]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[LowerLayers, int]]:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    low, middle, high = (tmp_path / str(number) for number in range(3))
    for name in ("a/b/c", "gone/x", "opaque/low", "file/x"):
        (low / name).parent.mkdir(parents=True, exist_ok=True)
        (low / name).touch()
    (middle / "a").mkdir(mode=0o700)
    (middle / "opaque").mkdir()
    os.setxattr(middle / "opaque", "trusted.overlay.opaque", b"y")
    os.mknod(middle / "gone", stat.S_IFCHR, os.makedev(0, 0))
    (high / "opaque").mkdir()
    (high / "opaque" / "high").touch()
    (high / "file").touch()
    (high / "link").symlink_to("a")
    with ExitStack() as opened:
        fds = []
        for path in (high, middle, low):
            fds.append(os.open(path, os.O_RDONLY))
            opened.callback(os.close, fds[-1])
        mount = mount_overlay(Stack(str(tmp_path), ["2", "1", "0"]))
        opened.callback(os.close, mount)
        yield LowerLayers(fds), mount


@pytest.mark.parametrize("path", PATHS)
def test_the_view_agrees_with_the_mount(stack: tuple[LowerLayers, int], path: str) -> None:
    lowers, mount = stack
    found = lowers.find(path)
    try:
        expected = os.stat(path or ".", dir_fd=mount, follow_symlinks=False)
    except OSError:
        assert found is None
    else:
        if path.startswith("link/"):  # a layer's path goes through directories only
            assert found is None
            return
        assert found is not None
        assert (found.status.st_mode, found.status.st_size) == (
            expected.st_mode,
            expected.st_size,
        ) or path == ""


def test_overlays_own_attributes_are_not_taken_over(stack: tuple[LowerLayers, int], tmp_path: Path) -> None:
    os.setxattr(tmp_path / "1" / "opaque", "user.note", b"x")
    fd = os.open(tmp_path / "1", os.O_RDONLY)
    found = LowerLayers([fd]).find("opaque")
    os.close(fd)
    assert found is not None
    assert found.xattrs == {"user.note": b"x"}
