"""The image store: names, removal, and what is on disk after any crash."""

import dataclasses
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import InvalidParameter, NotFound
from minidock.formats.digest import digest_of
from minidock.formats.image import ExecutionConfig
from minidock.paths import Paths
from minidock.storage import images
from minidock.storage.images import Image, ImageStore, NewImage
from minidock.storage.load import Origin, import_root, make_image

Make = Callable[..., tuple[tarfile.TarInfo, bytes]]
Tar = Callable[..., bytes]
New = Callable[..., Image]


@pytest.fixture
def new(store: ImageStore, tar: Tar, member: Make) -> New:
    """Make an image of one layer that holds one file with `text`."""

    def make(
        text: str, reference: str | None = None, created: str = "2024-01-01T00:00:00Z", cmd: str = "sh"
    ) -> Image:
        data = tar([member("file", text.encode())])
        return make_image(store, io.BytesIO(data), reference, Origin(created), ExecutionConfig(cmd=[cmd]))

    return make


def on_disk(store: ImageStore, paths: Paths) -> tuple[set[str], set[str]]:
    """The digits of all blobs and of all layers."""
    return set(os.listdir(os.path.join(paths.images, "blobs", "sha256"))), set(os.listdir(paths.layers)) - {
        "l"
    }


def test_an_image_is_found_by_all_that_users_call_it(store: ImageStore, new: New) -> None:
    image = new("1", "user/app:v1")
    store.tag(image.id, "app")
    digest = store.manifests(image.id)[0].digest
    store.remember_digest(image.id, f"app@{digest}")
    image = store.image(image.id)
    assert image.references == ("app:latest", "user/app:v1")
    assert image.digests == (f"app@{digest}",)
    for name in (
        "app",
        "app:latest",
        "docker.io/library/app",
        "user/app:v1",
        f"app@{digest}",
        f"app:latest@{digest}",
        f"user/app@{digest}",
        image.id,
        image.id[7:],
        image.id[7:19],
        image.id[:20],
    ):
        assert store.resolve(name) == image


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x", "No such image: x:latest"),
        ("x:1", "No such image: x:1"),
        ("library/x", "No such image: x:latest"),
        ("reg.example/x", "No such image: reg.example/x:latest"),
        ("user/app", "No such image: user/app:latest"),
        ("0" * 64, "No such image: sha256:" + "0" * 64),
        ("deadbeef", "No such image: deadbeef:latest"),
        ("user/app@sha256:" + "0" * 64, "No such image: user/app@sha256:" + "0" * 64),
    ],
)
def test_what_is_not_there_is_named_as_docker_names_it(
    store: ImageStore, new: New, name: str, sentence: str
) -> None:
    new("1", "user/app:v1")
    with pytest.raises(NotFound) as caught:
        store.resolve(name)
    assert str(caught.value) == sentence


def test_an_id_that_two_images_begin_with_is_ambiguous(store: ImageStore, new: New) -> None:
    ids = [new(str(number)).id for number in range(17)]  # of 17, two share the first digit
    first = [each[7] for each in ids]
    shared = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(InvalidParameter, match="ambiguous"):
        store.resolve(shared)


def test_a_tag_moves_and_leaves_the_old_image_without_a_name(store: ImageStore, new: New) -> None:
    old = new("1", "app")
    fresh = new("2")
    assert store.tag(fresh.id, "app") == "app:latest"
    assert store.resolve("app").id == fresh.id
    assert store.image(old.id).references == ()
    assert store.untag("app") == "app:latest"
    assert len(store.images()) == 2
    with pytest.raises(NotFound, match="No such image: app:latest"):
        store.untag("app")
    with pytest.raises(InvalidParameter, match="digest reference"):
        store.tag(old.id, "app@sha256:" + "0" * 64)
    with pytest.raises(InvalidParameter, match="ambiguous tag"):
        store.tag(old.id, "sha256:abc")
    with pytest.raises(InvalidParameter, match="must be lowercase"):
        store.tag(old.id, "App")
    with pytest.raises(NotFound):
        store.tag("sha256:" + "0" * 64, "app")


def test_images_are_listed_newest_first(store: ImageStore, new: New) -> None:
    for number, year in enumerate((2020, 2024, 2022)):
        new(str(number), f"y{year}", f"{year}-01-01T00:00:00Z")
    assert [image.references[0] for image in store.images()] == [
        "y2024:latest",
        "y2022:latest",
        "y2020:latest",
    ]


def test_the_names_on_disk_have_dockers_shape_of_2013(store: ImageStore, new: New, paths: Paths) -> None:
    image = new("1", "ubuntu:12.04")
    store.tag(image.id, "10.2.15.190:5000/tankywoo")
    with open(os.path.join(paths.images, "repositories.json")) as file:
        assert json.load(file) == {
            "Repositories": {"10.2.15.190:5000/tankywoo": {"latest": image.id}, "ubuntu": {"12.04": image.id}}
        }


def test_removal_takes_what_nobody_else_needs(store: ImageStore, new: New, paths: Paths) -> None:
    first = new("same", "a", cmd="one")
    second = new("same", "b", cmd="two")
    third = new("other", "c")
    assert first.chain_ids == second.chain_ids
    assert store.remove(first.id) == [first.id]
    assert store.resolve("b") == second
    assert store.remove(second.id) == [second.id, *second.chain_ids]
    assert store.remove(third.id, keep_layers=third.chain_ids) == [third.id]
    assert store.images() == []
    blobs, layers = on_disk(store, paths)
    assert (blobs, layers) == (set(), {third.chain_ids[0][7:]})
    assert store.sweep(keep_layers=third.chain_ids) == 0
    assert store.sweep() > 0
    assert on_disk(store, paths) == (set(), set())
    with pytest.raises(NotFound):
        store.remove(first.id)


def test_work_that_fails_leaves_nothing_and_harms_nothing(store: ImageStore, new: New, paths: Paths) -> None:
    image = new("1", "a")
    before = on_disk(store, paths)

    def fail() -> None:
        with store.work() as pin:
            store.blobs.add(b"half of an image", pin)
            for digest in before[0]:
                assert store.blobs.has(f"sha256:{digest}", pin)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert on_disk(store, paths) == before
    assert store.resolve("a") == image


def test_an_image_whose_parts_are_missing_is_not_recorded(store: ImageStore, new: New) -> None:
    image = new("1", "a")
    manifest = store.manifests(image.id)[0]
    store.remove(image.id)
    with store.work() as pin, pytest.raises(NotFound):
        store.add([NewImage(manifest, ("docker.io/library/a:latest",))], pin)
    assert store.images() == []


def test_a_store_opened_again_is_the_same(store: ImageStore, new: New, paths: Paths) -> None:
    image = new("1", "a")
    store.tag(image.id, "b:2")
    store.remember_digest(image.id, f"b@{store.manifests(image.id)[0].digest}")
    again = ImageStore(paths)
    assert again.images() == store.images()
    assert again.problems == []


def test_crashes_between_two_writes_leave_the_old_or_the_new_state(
    store: ImageStore, new: New, paths: Paths
) -> None:
    """Every state of the files that a kill can leave, in the order of the writes."""
    new("1", "a")
    index, names = (os.path.join(paths.images, name) for name in ("index.json", "repositories.json"))
    old = [Path(path).read_bytes() for path in (index, names)]
    stray = digest_of(b"stray")[7:]
    fresh = new("2", "a")
    with open(names, "wb") as file:  # killed after the index, before the derived file
        file.write(old[1])
    again = ImageStore(paths)
    assert again.resolve("a").id == fresh.id
    with open(names, "rb") as file:
        assert fresh.id.encode() in file.read()
    with open(index, "wb") as file:  # killed before the index: blobs and layers of the new image are strays
        file.write(old[0])
    with open(os.path.join(paths.images, "blobs", "sha256", stray), "wb"):
        pass
    again = ImageStore(paths)
    assert [image.id for image in again.images()] != [fresh.id]
    assert len(again.images()) == 1
    assert stray not in os.listdir(os.path.join(paths.images, "blobs", "sha256"))
    assert again.sweep() > 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"manifests": 3}', b"\xff"])
def test_a_damaged_index_is_rebuilt_from_blobs_and_names(
    store: ImageStore, new: New, paths: Paths, damage: bytes
) -> None:
    new("1", "a")
    new("2", "b:x")
    with open(os.path.join(paths.images, "index.json"), "wb") as file:
        file.write(damage)
    again = ImageStore(paths)
    # That each was tagged here stood in the index only.
    assert again.images() == [dataclasses.replace(each, last_tag_time="") for each in store.images()]
    assert any("index.json" in problem for problem in again.problems)
    assert any("damaged" in name for name in os.listdir(paths.images))
    assert ImageStore(paths).problems == []


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"Repositories": 1}', b'{"Repositories": {"A A": {"x": "y"}}}']
)
def test_damaged_names_come_back_from_the_index(
    store: ImageStore, new: New, paths: Paths, damage: bytes
) -> None:
    image = new("1", "a")
    with open(os.path.join(paths.images, "repositories.json"), "wb") as file:
        file.write(damage)
    assert ImageStore(paths).resolve("a") == image


def test_lost_layers_are_unpacked_again(store: ImageStore, new: New, paths: Paths) -> None:
    image = new("1", "a")
    shutil.rmtree(os.path.join(paths.layers, image.chain_ids[0][7:]))
    again = ImageStore(paths)
    assert again.resolve("a") == image
    assert os.listdir(again.layers.diff_directory(image.chain_ids[0])) == ["file"]
    assert any("unpacked again" in problem for problem in again.problems)


def test_an_unreadable_image_is_left_out_but_not_lost(store: ImageStore, new: New, paths: Paths) -> None:
    broken, fine = new("1", "broken"), new("2", "fine")
    path = store.blobs.path(broken.id)
    with open(path, "rb") as file:
        good = file.read()
    with open(path, "wb") as file:
        file.write(b"rubbish")
    again = ImageStore(paths)
    assert [image.id for image in again.images()] == [fine.id]
    assert any(broken.id[7:] in problem for problem in again.problems)
    again.tag(fine.id, "more")
    with open(path, "wb") as file:
        file.write(good)
    assert ImageStore(paths).resolve("broken").id == broken.id


def test_many_threads_tag_and_remove_and_the_files_agree(store: ImageStore, new: New, paths: Paths) -> None:
    images = [new(str(number), f"image{number}") for number in range(4)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                store.tag(images[number].id, f"tag{number}:{turn}")
                store.images()
                store.resolve(f"tag{number}:{turn}")
            if number % 2:
                store.remove(images[number].id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ImageStore(paths).images() == store.images()
    assert {image.id for image in store.images()} == {images[0].id, images[2].id}


def test_an_import_says_where_it_comes_from(store: ImageStore, tar: Tar, member: Make) -> None:
    image = import_root(
        store, io.BytesIO(tar([member("a")])), "imp:1", "my root", ExecutionConfig(env=["A=b"])
    )
    assert image.references == ("imp:1",)
    assert image.config.history is not None
    assert image.config.history[0].comment == "my root"
    assert image.config.execution.env == ["A=b"]
    assert image.created.endswith("Z")


def test_the_last_tag_time_survives_a_restart(store: ImageStore, new: New, paths: Paths) -> None:
    image = new("1", "app")
    assert image.last_tag_time == image.created
    store.tag(image.id, "app:2", "2024-05-06T07:08:09.123456789Z")
    store.tag(image.id, "app:3")
    store.untag("app:2")
    again = ImageStore(paths).resolve("app")
    assert again == store.resolve("app")
    assert again.last_tag_time == "2024-05-06T07:08:09.123456789Z"


def test_a_listing_reads_each_name_once_and_no_file(
    store: ImageStore, new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store.tag(new(f"{number}", f"app:{number}").id, f"other:{number}")
    read: list[str] = []
    parse = images.parse_reference
    monkeypatch.setattr(images, "parse_reference", lambda name: read.append(name) or parse(name))  # type: ignore[func-returns-value]
    monkeypatch.setattr(store.blobs, "open", None)
    assert len(store.images()) == 5
    assert len(read) == len(set(read)) == 10
