"""Records on disk: readable, exact, and harmless when damaged."""

import json
import os
from pathlib import Path

import pytest

from minidock.engine import records
from minidock.engine.model import ContainerConfig, ContainerRecord, HostConfig, NetworkingConfig, RunState
from minidock.errors import Damaged
from minidock.paths import Paths

ID = "a" * 64


def record(**host: object) -> ContainerRecord:
    return ContainerRecord(
        id=ID,
        name="web",
        created="2024-01-01T00:00:00Z",
        image="sha256:" + "b" * 64,
        image_name="busybox",
        layers=["sha256:" + "c" * 64],
        path="sh",
        args=["-c", "true"],
        config=ContainerConfig(image="busybox", env=["A=ü"]),
        host_config=HostConfig(**host),  # type: ignore[arg-type]
        networking=NetworkingConfig(),
    )


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(str(tmp_path / "data"), str(tmp_path / "exec"))
    os.makedirs(paths.container(ID))
    return paths


def test_a_record_comes_back_as_it_was_written(paths: Paths) -> None:
    written = record(memory=1 << 26, cap_add=["NET_ADMIN"])
    records.write_config(paths.container(ID), written)
    assert records.read_config(paths.container(ID)) == written


def test_a_record_can_be_read_by_people(paths: Paths) -> None:
    records.write_config(paths.container(ID), record())
    text = Path(paths.container(ID), "config.json").read_text()
    assert text.endswith("}\n")
    assert '\n  "name": "web"' in text
    assert json.loads(text)["config"]["env"] == ["A=ü"]


def test_a_state_that_was_never_written_is_none(paths: Paths) -> None:
    assert records.read_state(paths.container(ID)) is None
    assert records.read_exit(paths.container(ID)) is None


@pytest.mark.parametrize(
    "content", [b"", b'{"status": "runn', b"\xff\xfe", b"[]", b'{"status": 3}', b"[" * 100000]
)
def test_a_damaged_file_is_named(paths: Paths, content: bytes) -> None:
    path = Path(paths.container(ID), "state.json")
    path.write_bytes(content)
    with pytest.raises(Damaged, match=f"{path} is damaged: "):
        records.read_state(paths.container(ID))


def test_a_state_with_an_unknown_member_is_read(paths: Paths) -> None:
    Path(paths.container(ID), "state.json").write_text('{"status": "exited", "exit_code": 3, "later": 1}')
    assert records.read_state(paths.container(ID)) == RunState(status="exited", exit_code=3)


def test_what_is_set_aside_or_unfinished_counts_as_abandoned(paths: Paths) -> None:
    os.makedirs(paths.container("unborn"))
    records.write_config(paths.container(ID), record())
    assert records.abandoned(paths) == [paths.container("unborn")]
    hidden = records.set_aside(paths, ID)
    assert ID not in records.container_directories(paths)
    assert sorted(records.abandoned(paths)) == sorted([hidden, paths.container("unborn")])


def test_quarantine_moves_everything_and_says_why(paths: Paths) -> None:
    Path(paths.container(ID), "config.json").write_text("{")
    sentence = records.quarantine(paths, ID, Damaged("config.json is damaged"))
    (place,) = Path(paths.data_root, "quarantine").iterdir()
    assert str(place) in sentence
    assert (place / "config.json").read_text() == "{"
    assert (place / "REASON").read_text() == "config.json is damaged\n"
    assert not os.path.exists(paths.container(ID))
