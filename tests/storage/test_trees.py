"""Removing and measuring trees that were made to be hard to remove."""

import os
from pathlib import Path

import pytest

from minidock.storage import trees
from minidock.storage.trees import remove_tree, tree_size


def test_a_tree_goes_with_all_it_contains_and_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(victim)
    (tree / "top").symlink_to(victim, target_is_directory=True)
    os.mkfifo(tree / "a" / "b" / "pipe")
    os.chmod(tree / "a", 0)
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == ["victim"]
    assert os.listdir(victim) == ["file"]


def test_a_link_itself_is_removed_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    remove_tree(str(tmp_path / "l"))
    assert os.listdir(tmp_path) == ["d"]


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "none"))
    (tmp_path / "f").touch()
    with pytest.raises(NotADirectoryError):
        remove_tree(str(tmp_path / "f" / "x"))


def test_a_tree_deeper_than_any_stack_is_removed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for number in range(3000):
        os.mkdir("d", dir_fd=here)
        if number % 100 == 0:
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree("d", dir_fd=(top := os.open(tmp_path, os.O_RDONLY)))
    os.close(top)
    assert os.listdir(tmp_path) == ["f"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_of_very_many_names_is_removed_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "NAMES_AT_ONCE", 10)
    for place in (tmp_path / "d", tmp_path / "d" / "sub"):
        place.mkdir()
        for number in range(35):
            (place / f"{number}").touch()
            (place / f"d{number}").mkdir()
    remove_tree(str(tmp_path / "d"))
    assert os.listdir(tmp_path) == []


def test_a_tree_has_the_size_of_its_files_each_counted_once(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(bytes(1000))
    (tree / "a" / "b" / "with three names").write_bytes(bytes(100))
    for name in ("second", "third"):
        os.link(tree / "a" / "b" / "with three names", tree / name)
    (tmp_path / "outside").write_bytes(bytes(10**6))
    (tree / "link").symlink_to("../outside")
    assert tree_size(str(tree)) == 1000 + 100 + len("../outside")


def test_a_tree_deeper_than_pythons_stack_is_measured_as_deep_as_we_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MEASURED_DEPTH_MAX", 100)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.truncate(f"/proc/self/fd/{here}/f", 1)
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    assert tree_size(str(tmp_path)) == 100
    assert len(os.listdir("/proc/self/fd")) == before
    remove_tree(str(tmp_path / "d"))
