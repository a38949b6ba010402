"""The rows of a cgroup are the same in both versions; version 2 is read here from files made for the test."""

from pathlib import Path

import pytest

from minidock.explain import limits
from minidock.kernel.cgroup_v2 import CgroupV2

FILES = {
    "memory.current": "1572864",
    "memory.max": "67108864",
    "memory.events": "max 3\noom_kill 0",
    "pids.current": "4",
    "pids.max": "max",
    "cpu.stat": "usage_usec 20500",
    "cpu.max": "150000 100000",
    "cpu.weight": "39",
    "io.stat": "8:0 rbytes=1048576 wbytes=524288 rios=1 wios=1",
}


def rows(directory: Path, **changed: str) -> list[list[str]]:
    (directory / "web").mkdir(exist_ok=True)
    for name, text in {**FILES, **{name.replace("_", "."): text for name, text in changed.items()}}.items():
        (directory / "web" / name).write_text(text + "\n")
    return [" ".join(line.split()).split(" ", 1) for line in limits.lines(CgroupV2("/web", str(directory)))]


def test_version_2_says_what_is_used_and_allowed(tmp_path: Path) -> None:
    assert rows(tmp_path) == [
        ["memory", "1.5 MiB of 64.0 MiB memory.current, memory.max"],
        ["processes", "4 no limit pids.current, pids.max"],
        ["processors", "0.021 s of 1.50 at a time, weight 39 cpu.stat, cpu.max"],
        ["disks", "1.5 MiB io.stat"],
    ]


@pytest.mark.parametrize(
    ("changed", "row", "words"),
    [
        ({"memory_max": "max"}, 0, "1.5 MiB no limit "),
        ({"pids_max": "100"}, 1, "4 of 100 "),
        ({"cpu_max": "max 100000"}, 2, "0.021 s no limit, weight 39 "),
        ({"memory_events": "max 3\noom_kill 2"}, 4, "killed because the memory was used up"),
    ],
)
def test_a_changed_file_changes_its_row(
    tmp_path: Path, changed: dict[str, str], row: int, words: str
) -> None:
    assert rows(tmp_path, **changed)[row][1].startswith(words)
