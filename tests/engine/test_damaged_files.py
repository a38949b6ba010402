"""Every JSON file of an engine, damaged in turn: the next engine starts, answers, and the rest goes on."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine import info, inspection, lifecycle, listing, network_verbs, volumes
from minidock.engine.engine import Engine
from minidock.errors import MinidockError
from tests.engine.conftest import IMAGE, Bench

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda data: data[: len(data) // 2],
    "garbage": lambda _: b"\x00\xff\x80{[" * 7,
    "another type": lambda data: b"[1]" if data.lstrip().startswith(b"{") else b"{}",
    "wrong members": lambda data: json.dumps(_wrong(json.loads(data))).encode(),
}


def _wrong(value: object) -> object:
    """Return a document in which every word is a number and every number a list."""
    if isinstance(value, dict):
        return {key: _wrong(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_wrong(one) for one in value]
    return 7 if isinstance(value, str) else [value]


def answers(engine: Engine) -> None:
    """Ask for everything that the engine knows."""
    info.info(engine)
    for line in listing.summaries(engine, show_all=True, size=True):
        with contextlib.suppress(MinidockError):
            inspection.inspect(engine, line.id, size=True)
    for image in engine.images.images():
        assert image.id
    volumes.listed(engine)
    network_verbs.list_all(engine, {})


@pytest.mark.soak(100)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_may_be_damaged(fresh_bench: Bench, damage: str, rounds: int) -> None:
    """In full every file in every way; else every file in one way, which is another one for its neighbour."""
    ended = fresh_bench.start("sh", "-c", "exit 3", name="ended", binds=["data:/data"])
    fresh_bench.wait(ended)
    created = fresh_bench.create("true", name="created")
    fresh_bench.engine.close()
    root = Path(fresh_bench.configuration.paths.data_root)
    saved = root.with_name("saved")
    shutil.copytree(root, saved, symlinks=True)
    damaged = [path.relative_to(root) for path in root.rglob("*") if _is_json(path)]
    assert {path.name for path in damaged} >= {"config.json", "state.json", "exit.json", "index.json"}
    chosen = slice(None) if rounds == 100 else slice(list(DAMAGES).index(damage), None, len(DAMAGES))
    for path in sorted(damaged)[chosen]:
        data = (root / path).read_bytes()
        (root / path).write_bytes(DAMAGES[damage](data))
        engine = fresh_bench.engine = Engine.open(fresh_bench.configuration)
        try:
            answers(engine)
            survivors = {ended, created} & set(engine.containers)
            assert survivors >= {ended, created} - {path.parts[1] if path.parts[0] == "containers" else ""}
            for identifier in survivors:
                lifecycle.remove(engine, identifier, force=True)
            assert fresh_bench.run("echo", "still here", image=IMAGE) == (0, "still here\n"), path
            engine.close()
        finally:
            _restore(root, saved)
    fresh_bench.engine = Engine.open(fresh_bench.configuration)


def _is_json(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    try:
        return isinstance(json.loads(path.read_bytes()), dict | list)
    except ValueError:
        return False


def _restore(root: Path, saved: Path) -> None:
    for name in os.listdir(root):
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    shutil.copytree(saved, root, symlinks=True, dirs_exist_ok=True)
