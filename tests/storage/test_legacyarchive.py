"""Archives of 2014: their images keep parents, names and old IDs, and broken ones leave nothing."""

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from minidock.errors import InvalidParameter, NotFound
from minidock.paths import Paths
from minidock.storage.images import ImageStore
from minidock.storage.load import load
from tests import seed

Change = Callable[[dict[str, bytes]], None]


def members(change: Change | None = None) -> bytes:
    """Return an archive of three images, one above the other, after a change to its members."""
    images = [
        seed.OldImage("a" * 12, "", 10),
        seed.OldImage("b" * 12, "a" * 12, 20),
        seed.OldImage("c" * 12, "b" * 12, 30, ("x:1",)),
    ]
    found = {}
    with tarfile.open(fileobj=io.BytesIO(seed.archive(images))) as archive:
        for info in archive:
            found[info.name] = archive.extractfile(info).read()  # type: ignore[union-attr]
    if change is not None:
        change(found)
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in found.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def full(letter: str) -> str:
    return seed.full(letter * 12)


def test_the_whole_page_is_loaded_with_its_parents_and_names(store: ImageStore, paths: Paths) -> None:
    names = load(store, io.BytesIO(seed.archive()))
    assert sorted(names) == sorted(tag for image in seed.GRAPH for tag in image.tags)
    for again in (store, ImageStore(paths)):  # as loaded, and as found on the disk later
        for old in seed.GRAPH:
            image = again.resolve(old.short)
            assert (image.old_id, image.size) == (old.id, old.total_kb * 1000)
            assert image.references == tuple(sorted(old.tags))
            assert image.parent == (again.resolve(old.parent).id if old.parent else "")
            assert again.resolve(old.id) == again.resolve(f"sha256:{old.id}") == image


def test_the_config_tells_what_the_old_documents_told(store: ImageStore) -> None:
    load(store, io.BytesIO(seed.archive()))
    image = store.resolve("ubuntu:12.10")
    assert image.created == "2014-04-24T18:59:45.123456789Z"
    assert image.config.execution.cmd == ["/bin/bash"]
    assert [step.created_by.split()[-3] for step in image.config.history or ()] == [
        "511136ea3c5a",
        "ef519c9ee91a",
        "07302703becc",
        "cf8dc907452c",
        "a7cf8ae4e998",
    ]


def test_the_same_archive_gives_the_same_images(store: ImageStore) -> None:
    load(store, io.BytesIO(members()))
    before = store.images()
    load(store, io.BytesIO(members()))
    assert store.images() == before
    assert len(before) == 3


def edit(name: str, **changes: Any) -> Change:
    def change(found: dict[str, bytes]) -> None:
        found[name] = json.dumps({**json.loads(found[name]), **changes}).encode()

    return change


def drop(name: str) -> Change:
    def change(found: dict[str, bytes]) -> None:
        del found[name]

    return change


def put(name: str, data: bytes) -> Change:
    def change(found: dict[str, bytes]) -> None:
        found[name] = data

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop(f"{full('a')}/json"), "the parent .* is not in it"),
        (drop(f"{full('a')}/layer.tar"), "layer.tar' is missing"),
        (edit(f"{full('a')}/json", parent=full("c")), "is its own ancestor"),
        (edit(f"{full('a')}/json", id="d" * 64), "describes another image"),
        (edit(f"{full('a')}/json", parent=7), "describes another image"),
        (put(f"{full('a')}/json", b"[]"), "invalid .*json in image archive"),
        (put(f"{full('a')}/json", b'{"id":'), "invalid .*json in image archive"),
        (edit(f"{full('b')}/json", config=[1]), "invalid image config"),
        (put("short/json", b"{}"), "is no ID of an image"),
        (put("repositories", b'{"x":{"1":"%s"}}' % (b"e" * 64)), "which is not in it"),
        (put("repositories", b'{"X":{"1":"%s"}}' % full("c").encode()), "must be lowercase"),
        (put(f"{full('b')}/layer.tar", b"x" * 512), "tar"),
    ],
)
def test_a_broken_archive_leaves_nothing(store: ImageStore, change: Change, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        load(store, io.BytesIO(members(change)))
    assert (store.images(), store.blobs.digests(), store.layers.layers()) == ([], [], [])


def test_a_chain_longer_than_can_be_mounted_is_refused(store: ImageStore) -> None:
    names = [f"{number:012x}" for number in range(1, 131)]
    chain = [seed.OldImage(name, below, 0) for name, below in zip(names, ["", *names], strict=False)]
    with pytest.raises(InvalidParameter, match="has more than 128 layers"):
        load(store, io.BytesIO(seed.archive(chain)))
    assert len(load(store, io.BytesIO(seed.archive(chain[:128])))) == 1
    assert len(store.images()) == 128


def test_documents_are_bounded_together(store: ImageStore) -> None:
    def fill(found: dict[str, bytes]) -> None:
        for number in range(9):
            found[f"{number:064x}/json"] = b" " * (4 << 20)

    with pytest.raises(InvalidParameter, match="its documents are too large"):
        load(store, io.BytesIO(members(fill)))
    assert store.blobs.digests() == []


def test_an_old_id_goes_with_its_image(store: ImageStore) -> None:
    load(store, io.BytesIO(members()))
    store.remove(store.resolve(full("c")).id)
    with pytest.raises(NotFound):
        store.resolve("c" * 12)
