"""The recorded core path is what a run executes now, and it is within its budget."""

import json

import pytest

from docs.made import figures, record, source, tables
from minidock.kernel import cgroups

# What depends on the machine that the recording was made on: which cgroups it has.
OF_THE_MACHINE = ("minidock.kernel.cgroup",)
AGAIN = "the code has changed: sudo python -m docs.made.record"


@pytest.fixture(scope="module")
def recorded_now() -> dict[str, object]:
    return record.record()


def names(recording: object) -> set[str]:
    assert isinstance(recording, dict)
    return {name for _, name in recording["functions"] if not name.startswith(OF_THE_MACHINE)}


def test_the_reading_order_lists_what_a_run_executes(recorded_now: dict[str, object]) -> None:
    written = names(json.loads((figures.RECORDED / "core-path.json").read_text()))
    now = names(recorded_now["core-path.json"])
    assert len(now) > 200
    assert written == now, AGAIN


def test_the_recording_runs_from_the_command_line_to_execve(recorded_now: dict[str, object]) -> None:
    recording = recorded_now["core-path.json"]
    assert isinstance(recording, dict)
    functions = recording["functions"]
    assert functions[0] == ["cli", "minidock.cli.main:main"]
    assert ["init", "minidock.runtime.program:execute"] in functions
    assert {role for role, _ in functions} == set(figures.ROLE_NAMES)
    assert any(name.startswith(OF_THE_MACHINE) for _, name in functions)
    assert cgroups.hierarchy() is not None


def test_the_core_path_is_within_its_budget(recorded_now: dict[str, object]) -> None:
    for recording in (
        recorded_now["core-path.json"],
        json.loads((figures.RECORDED / "core-path.json").read_text()),
    ):
        assert isinstance(recording, dict)
        assert 1000 < recording["executed_lines"] <= tables.BUDGET


def test_the_figure_of_the_processes_shows_what_is_there(recorded_now: dict[str, object]) -> None:
    written = json.loads((figures.RECORDED / "processes.json").read_text())
    now = recorded_now["processes.json"]
    assert isinstance(now, list)
    own_now, own_written = (
        [set(process.pop("own_namespaces")) - {"cgroup"} for process in chain] for chain in (now, written)
    )
    assert (now, own_now) == (written, own_written), AGAIN


def test_the_reading_order_names_only_functions_that_are_there() -> None:
    recording = json.loads((figures.RECORDED / "core-path.json").read_text())
    for _, name in recording["functions"]:
        assert source.resolve(name).kind == "function", AGAIN
