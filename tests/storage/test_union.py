"""The union view shows what the kernel's overlay shows, for whatever layers are stacked."""

import contextlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter, NotFound
from minidock.formats.digest import ChainID, chain_id
from minidock.paths import Paths
from minidock.storage.layers import LayerStore
from minidock.storage.union import Union

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(["file", "directory", "link", "hole", "opaque", "pipe"])
LAYER = st.lists(st.tuples(PATHS, KINDS), max_size=8)


def layer_tar(entries: list[tuple[str, str]], token: int) -> bytes:
    """Return a layer: `hole` hides the path below, `opaque` all that is in the directory below."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, (path, kind) in enumerate(entries):
            parent, slash, name = path.rpartition("/")
            special = {"hole": f"{parent}{slash}.wh.{name}", "opaque": f"{path}/.wh..wh..opq"}
            info = tarfile.TarInfo(special.get(kind, path))
            info.mtime, info.mode, info.uid = 1_000_000 + token * 100 + number, 0o640 + number % 8, number
            data = f"{token}-{number}".encode() if kind == "file" else b""
            info.size = len(data)
            info.type = {
                "directory": tarfile.DIRTYPE,
                "link": tarfile.SYMTYPE,
                "pipe": tarfile.FIFOTYPE,
            }.get(kind, tarfile.REGTYPE)
            info.linkname = f"/to/{token}/{number}" if kind == "link" else ""
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def facts(status: os.stat_result, content: Any) -> tuple[Any, ...]:
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return (status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns, content)


def as_mounted(layers: LayerStore, chain: list[ChainID]) -> dict[str, tuple[Any, ...]]:
    """Read the whole tree through the kernel's overlay."""
    mount = layers.overlay(chain)
    found: dict[str, tuple[Any, ...]] = {}

    def read(directory: int, path: str) -> None:
        for name in os.listdir(directory):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            below = f"{path}/{name}" if path else name
            content: Any = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(name, dir_fd=directory)
            elif stat.S_ISREG(status.st_mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=directory), "rb") as file:
                    content = file.read()
            found[below] = facts(status, content)
            if stat.S_ISDIR(status.st_mode):
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
                try:
                    read(child, below)
                finally:
                    os.close(child)

    try:
        top = os.open(f"/proc/self/fd/{mount}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            read(top, "")
        finally:
            os.close(top)
    finally:
        os.close(mount)
    return found


def as_united(layers: LayerStore, chain: list[ChainID]) -> dict[str, tuple[Any, ...]]:
    """Read the whole tree through the union view, and find each path again by its name."""
    found: dict[str, tuple[Any, ...]] = {}
    with Union([layers.diff_directory(each) for each in reversed(chain)]) as union:
        root, *entries = union.walk()
        assert root.path == ""
        for entry in entries:
            content: Any = None
            if stat.S_ISLNK(entry.status.st_mode):
                content = union.link(entry)
            elif stat.S_ISREG(entry.status.st_mode):
                with union.open(entry) as file:
                    content = file.read()
            found[entry.path] = facts(entry.status, content)
            again = union.find(entry.path)
            assert (again.layer, again.status.st_ino) == (entry.layer, entry.status.st_ino)
            assert union.xattrs(entry) == {}
    return found


@given(stack=st.lists(LAYER, min_size=1, max_size=4))
@example(stack=[[("a/a", "file")], [("a", "link"), ("a/a", "hole")]])  # the hole is made elsewhere
def test_the_union_is_what_the_overlay_shows(
    stack: list[list[tuple[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("union")
    layers = LayerStore(Paths(str(directory / "data"), str(directory / "run")))
    chain: list[ChainID] = []
    for number, entries in enumerate(stack):
        data = layer_tar(entries, number)
        with contextlib.suppress(InvalidParameter):  # a file where a directory must be is no layer
            chain.append(layers.unpack(io.BytesIO(data), None, chain[-1] if chain else ""))
    if chain:
        assert as_united(layers, chain) == as_mounted(layers, chain)


def test_what_is_hidden_is_not_found(paths: Paths) -> None:
    layers = LayerStore(paths)
    lower = layers.unpack(io.BytesIO(layer_tar([("a/b", "file"), ("c", "file"), ("l", "link")], 0)), None)
    upper = layers.unpack(io.BytesIO(layer_tar([("a/b", "hole")], 1)), None, lower)
    assert upper == chain_id(lower, layers.layer(upper).diff_id)
    with Union([layers.diff_directory(upper), layers.diff_directory(lower)]) as union:
        assert union.find("c").layer == 1
        assert union.find("").is_directory
        for path in ("a/b", "a/b/c", "c/x", "l/x", "nope", "../../etc"):
            with pytest.raises(NotFound):
                union.find(path)


def test_a_stack_of_nothing_that_exists_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Union([str(tmp_path), str(tmp_path / "missing")])
