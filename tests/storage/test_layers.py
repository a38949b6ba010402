"""The layer store: whole layers or none, and the stack that a container sees."""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import DigestMismatch, InvalidParameter, NotFound
from minidock.formats.digest import chain_id, digest_of
from minidock.paths import Paths
from minidock.storage.layers import LayerStore, link_name

Make = Callable[..., tuple[tarfile.TarInfo, bytes]]
Tar = Callable[..., bytes]


@pytest.fixture
def layers(paths: Paths) -> LayerStore:
    return LayerStore(paths)


def put(layers: LayerStore, data: bytes, parent: str = "") -> str:
    return layers.unpack(io.BytesIO(data), digest_of(data), parent)


def listing(layers: LayerStore, *chain_ids: str) -> dict[str, str]:
    """What the mounted stack shows: path -> content, "" for directories."""
    detached = layers.overlay(chain_ids)
    root = os.open(".", os.O_RDONLY, dir_fd=detached)
    found: dict[str, str] = {}
    for path, directories, names, fd in os.fwalk(".", dir_fd=root):
        for name in directories:
            found[os.path.normpath(f"{path}/{name}")] = ""
        for name in names:
            with open(os.open(name, os.O_RDONLY, dir_fd=fd)) as file:
                found[os.path.normpath(f"{path}/{name}")] = file.read()
    os.close(root)
    os.close(detached)
    return found


def test_a_layer_lies_under_its_chain_id_with_a_record(layers: LayerStore, tar: Tar, member: Make) -> None:
    data = tar([member("d/a", b"12345"), member("b", b"678")])
    identifier = put(layers, data)
    assert identifier == digest_of(data)
    directory = os.path.join(layers.root, identifier[7:])
    assert layers.diff_directory(identifier) == os.path.join(directory, "diff")
    with open(os.path.join(directory, "layer.json")) as file:
        record = json.load(file)
    assert record == {"chain_id": identifier, "diff_id": identifier, "parent": "", "size": 8, "entries": 2}
    assert len(link_name(identifier)) == 26
    assert os.path.samefile(
        os.path.join(layers.root, "l", link_name(identifier)), os.path.join(directory, "diff")
    )


def test_upper_layers_hide_what_lower_layers_show(layers: LayerStore, tar: Tar, member: Make) -> None:
    first = put(
        layers, tar([member("a", b"1"), member("d/x", b"x"), member("d/y", b"y"), member("e/z", b"z")])
    )
    second = put(
        layers,
        tar([member(".wh.a"), member("d/.wh.x"), member("e/.wh..wh..opq"), member("e/n", b"n")]),
        first,
    )
    third = put(layers, tar([member("a", b"3"), member(".wh.d"), member("e/z", b"again")]), second)
    assert listing(layers, first) == {"a": "1", "d": "", "d/x": "x", "d/y": "y", "e": "", "e/z": "z"}
    assert listing(layers, first, second) == {"d": "", "d/y": "y", "e": "", "e/n": "n"}
    assert listing(layers, first, second, third) == {"a": "3", "e": "", "e/n": "n", "e/z": "again"}
    assert layers.layer(third).parent == second
    assert layers.lineage(third) == [third, second, first]
    assert third == chain_id(second, layers.layer(third).diff_id)


def test_the_same_layer_above_another_parent_is_another_layer(
    layers: LayerStore, tar: Tar, member: Make
) -> None:
    base, other, data = tar([member("a")]), tar([member("b")]), tar([member("c")])
    assert (
        len({put(layers, data), put(layers, data, put(layers, base)), put(layers, data, put(layers, other))})
        == 3
    )


def test_no_layers_at_all_are_an_empty_root(layers: LayerStore, tmp_path: Path) -> None:
    assert listing(layers) == {}
    (tmp_path / "u").mkdir()
    (tmp_path / "w").mkdir()
    detached = layers.overlay([], str(tmp_path / "u"), str(tmp_path / "w"), volatile=True)
    os.mkdir("made", dir_fd=detached)
    os.close(detached)
    assert os.listdir(tmp_path / "u") == ["made"]
    assert sorted(os.listdir(os.path.join(layers.root, "l"))) == ["EMPTY0", "EMPTY1"]


@pytest.mark.parametrize("parent", ["", "sha256:" + "0" * 64])
def test_nothing_is_left_of_a_layer_that_fails(
    layers: LayerStore, tar: Tar, member: Make, parent: str
) -> None:
    data = tar([member("a", b"x" * 100)])
    with pytest.raises((DigestMismatch, NotFound)):
        layers.unpack(io.BytesIO(data), digest_of(b"other"), parent)
    with pytest.raises((InvalidParameter, NotFound)):
        put(layers, data[:550], parent)
    with pytest.raises((InvalidParameter, NotFound)):
        put(layers, tar([member("a"), member("../b")]), parent)
    assert os.listdir(layers.root) == ["l"]
    assert layers.layers() == []


def test_a_store_that_is_opened_again_knows_its_layers_and_sweeps_the_rest(
    layers: LayerStore, paths: Paths, tar: Tar, member: Make
) -> None:
    identifier = put(layers, tar([member("a", b"1")]))
    os.makedirs(os.path.join(layers.root, "tmp-0123", "diff", "deep"))
    again = LayerStore(paths)
    assert again.layers() == layers.layers()
    assert listing(again, identifier) == {"a": "1"}
    assert sorted(os.listdir(layers.root)) == [identifier[7:], "l"]
    assert again.problems == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"chain_id": 1}', "null"])
def test_a_damaged_record_is_set_aside_and_told(
    layers: LayerStore, paths: Paths, tar: Tar, member: Make, damage: str
) -> None:
    identifier = put(layers, tar([member("a", b"1")]))
    with open(os.path.join(layers.root, identifier[7:], "layer.json"), "w") as file:
        file.write(damage)
    again = LayerStore(paths)
    assert again.layers() == []
    assert len(again.problems) == 1
    assert identifier in again.problems[0]
    assert put(again, tar([member("a", b"1")])) == identifier


def test_sweeping_keeps_what_is_needed_and_what_is_below_it(
    layers: LayerStore, tar: Tar, member: Make
) -> None:
    base = put(layers, tar([member("a")]))
    middle = put(layers, tar([member("b")]), base)
    top = put(layers, tar([member("c")]), middle)
    other = put(layers, tar([member("d")]), base)
    assert set(layers.sweep([middle])) == {top, other}
    assert sorted(layer.chain_id for layer in layers.layers()) == sorted([base, middle])
    with layers.pinned([middle]):
        assert layers.sweep([]) == []
    assert layers.sweep([], among=[base]) == []  # `middle`, which nobody asked about, stands on it
    assert layers.sweep([], among=[middle]) == [middle]
    assert layers.sweep([]) == [base]
    assert os.listdir(layers.root) == ["l"]
    with pytest.raises(NotFound), layers.pinned([base]):
        pass


def test_many_threads_may_unpack_the_same_layer(layers: LayerStore, tar: Tar, member: Make) -> None:
    data = tar([member(f"f{number}", b"x") for number in range(50)])
    results: list[object] = []

    def work() -> None:
        try:
            results.append(put(layers, data))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [digest_of(data)] * 6
    assert sorted(os.listdir(layers.root)) == [digest_of(data)[7:], "l"]


def test_layers_are_closed_to_other_users(layers: LayerStore) -> None:
    assert os.stat(layers.root).st_mode & 0o777 == 0o700
