"""The volume store on disk: whole volumes or none, whatever happened between two writes."""

import os
from pathlib import Path

import pytest

from minidock.errors import InvalidParameter, NotFound
from minidock.paths import Paths
from minidock.storage.volumes import VolumeStore

TIME = "2014-03-20T17:43:00Z"


def test_a_volume_is_found_again_with_what_was_said_of_it(paths: Paths) -> None:
    made, is_new = VolumeStore(paths).create("data", TIME, {"a": "b"}, {"type": "tmpfs", "device": "tmpfs"})
    assert is_new
    again = VolumeStore(paths)
    assert again.volumes() == [made]
    assert made.needs_mount
    assert again.create("data", "later", {"other": "labels"}) == (made, False)


def test_what_containers_see_is_an_empty_directory_of_roots(paths: Paths) -> None:
    store = VolumeStore(paths)
    store.create("data", TIME)
    status = os.stat(store.data("data"))
    assert (status.st_mode & 0o7777, status.st_uid, os.listdir(store.data("data"))) == (0o755, 0, [])


@pytest.mark.parametrize("name", ["a", "", "a/b", "../x", ".hidden", "-x", "x" * 256, "a\nb", "ab\n"])
def test_a_name_cannot_become_a_path(paths: Paths, name: str) -> None:
    store = VolumeStore(paths)
    with pytest.raises(InvalidParameter, match="volume name"):
        store.create(name, TIME)
    assert os.listdir(store.root) == []


def test_a_removed_volume_is_gone_with_its_content(paths: Paths) -> None:
    store = VolumeStore(paths)
    store.create("data", TIME)
    (Path(store.data("data")) / "deep").mkdir()
    store.remove("data")
    assert os.listdir(store.root) == []
    with pytest.raises(NotFound, match="get data: no such volume"):
        store.remove("data")


def test_work_that_fails_takes_back_what_it_made_and_nothing_else(paths: Paths) -> None:
    store = VolumeStore(paths)
    store.create("old", TIME)

    def fail() -> None:
        with store.holding() as holds:
            holds.create("old", TIME, None, None)
            holds.create("new", TIME, None, None)
            assert store.held["new"] == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [volume.name for volume in store.volumes()] == ["old"]
    assert not store.held
    with store.holding() as holds:
        holds.create("new", TIME, None, None)
    assert [volume.name for volume in store.volumes()] == ["new", "old"]


def test_leftovers_are_swept_and_a_damaged_record_is_set_aside(paths: Paths) -> None:
    store = VolumeStore(paths)
    for name in ("good", "bad", "moved"):
        store.create(name, TIME)
    root = Path(store.root)
    (root / "bad" / "volume.json").write_text("{")
    (root / "bad" / "_data" / "precious").write_text("x")
    (root / "moved").rename(root / "other")
    (root / ".tmp-1234").mkdir()
    again = VolumeStore(paths)
    assert [volume.name for volume in again.volumes()] == ["good"]
    assert len(again.problems) == 2
    assert not (root / ".tmp-1234").exists()
    (aside,) = root.glob(".damaged-bad-*")
    assert (aside / "_data" / "precious").read_text() == "x"
