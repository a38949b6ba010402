"""What is counted in a layer, whatever a container has put there."""

import os
from pathlib import Path

from minidock.explain import layers
from minidock.storage.trees import remove_tree

DEPTH = 1500  # deeper than Python recurses


def test_a_layer_is_listed_in_order_and_no_link_is_followed(tmp_path: Path) -> None:
    for path in ("b/c", "a", "d/empty"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "b/c/file").write_text("")
    (tmp_path / "b/gone").write_text("")
    (tmp_path / "z").symlink_to("b")
    found = layers.content(str(tmp_path))
    assert found.names == ["/z", "/a", "/b/gone", "/b/c/file", "/d/empty"]
    assert (found.files, found.is_all) == (8, True)


def test_a_layer_deeper_than_pythons_stack_is_counted(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(DEPTH):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    try:
        assert layers.content(str(tmp_path)).files == DEPTH
    finally:
        remove_tree(str(tmp_path / "d"))
