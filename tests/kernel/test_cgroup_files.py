"""The files of a cgroup: nothing is ever created, and what did not take is an error."""

import errno
import os
from pathlib import Path

import pytest

from minidock.kernel import cgroup_files as files


def test_writing_a_missing_file_makes_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"memory\.max") as caught:
        files.write(str(tmp_path), "memory.max", "1")
    assert any("has no memory.max" in note for note in caught.value.__notes__)
    assert os.listdir(tmp_path) == []


def test_a_value_that_the_file_does_not_keep_is_an_error() -> None:
    # cgroup.procs of nothing at hand: /dev/null takes every write and keeps none.
    with pytest.raises(OSError, match="made '' of the limit '5'") as caught:
        files.write_checked("/dev", "null", "5")
    assert caught.value.errno == errno.EINVAL


def test_a_value_that_the_file_keeps_passes(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("0")
    files.write_checked(str(tmp_path), "limit", "5")
    (tmp_path / "limit").write_text("")
    with pytest.raises(OSError):
        files.write_checked(str(tmp_path), "limit", "5", "4")


@pytest.mark.parametrize(
    ("text", "numbers"), [("", set()), ("0", {0}), ("0-2,7", {0, 1, 2, 7}), ("3,1-2\n", {1, 2, 3})]
)
def test_a_cpu_list_is_a_set(text: str, numbers: set[int]) -> None:
    assert files.cpu_list(text) == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-b", "1;2"])
def test_a_broken_cpu_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid list"):
        files.cpu_list(text)


def test_missing_counters_are_none_or_empty(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("12\n")
    (tmp_path / "unlimited").write_text("max\n")
    assert files.read_number(str(tmp_path), "number") == 12
    assert files.read_number(str(tmp_path), "unlimited") is None
    assert files.read_number(str(tmp_path), "missing") is None
    assert files.read_number(None, "number") is None
    assert files.read_pairs(str(tmp_path), "missing") == {}


def test_descendants_come_before_their_parents(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    found = list(files.descendants(str(tmp_path)))
    assert found == [str(tmp_path / "a" / "b"), str(tmp_path / "a"), str(tmp_path)]
    assert list(files.descendants(str(tmp_path / "missing"))) == []


def test_nothing_is_made_outside_a_hierarchy_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.make(str(tmp_path / "gone" / "a" / "b"), str(tmp_path / "gone"))
    assert os.listdir(tmp_path) == []
