"""What is peculiar to version 2: conversions, and handing controllers down; hybrid hosts test it too."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroup_v2_limits as limits_v2
from minidock.kernel import cgroups
from minidock.kernel.cgroup_v2 import CgroupV2
from minidock.kernel.cgroups import Cgroup, Limits


def sleep_long() -> None:
    while True:
        time.sleep(60)


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 100), (2000, 170), (22000, 1204), (262144, 10000), (512, 59)]
)
def test_cpu_shares_become_the_weight_that_runc_writes(shares: int, weight: int) -> None:
    assert limits_v2.cpu_weight(shares) == weight


def test_the_weight_never_falls_as_shares_rise() -> None:
    weights = [limits_v2.cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert weights[0] == 1
    assert weights[-1] <= 10000


@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (500, 4950), (1000, 10000)])
def test_a_block_io_weight_is_stretched(weight: int, converted: int) -> None:
    assert limits_v2.io_weight(weight) == converted


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        (None, 50000, "max 50000"),
        (-1, None, "max 100000"),
        (5000, None, "5000 100000"),
        (1000, 2000, "1000 2000"),
    ],
)
def test_quota_and_period_share_one_file(quota: int | None, period: int | None, expected: str) -> None:
    assert limits_v2.cpu_max(quota, period, ["max", "100000"]) == expected


def test_memory_and_swap_become_swap_alone() -> None:
    assert limits_v2.swap_max(100, 300) == 200
    assert limits_v2.swap_max(100, 100) == 0
    assert limits_v2.swap_max(None, -1) == -1
    with pytest.raises(ValueError, match="needs a memory limit"):
        limits_v2.swap_max(None, 300)
    with pytest.raises(ValueError, match="less than the memory limit"):
        limits_v2.swap_max(400, 300)


@pytest.mark.parametrize(
    ("limits", "name", "content"),
    [
        (Limits(memory=8192, memory_swap=12288), "memory.swap.max", "4096"),
        (Limits(memory=8192, memory_swap=12288), "memory.max", "8192"),
        (Limits(memory=-1), "memory.max", "max"),
        (Limits(memory=-1), "memory.swap.max", "max"),
        (Limits(memory_reservation=4096), "memory.low", "4096"),
        (Limits(cpu_shares=1024), "cpu.weight", "100"),
        (Limits(cpu_quota_usec=150000), "cpu.max", "150000 100000"),
        (Limits(cpuset_cpus="0-1", cpuset_mems="0"), "cpuset.cpus", "0-1"),
        (Limits(pids=-1), "pids.max", "max"),
    ],
)
def test_the_files_get_the_words_of_version_2(
    tmp_path: Path, limits: Limits, name: str, content: str
) -> None:
    # Ordinary files, so that the words are checked on hosts whose controllers all belong to version 1.
    for file in {one for files in limits_v2.FILES.values() for one in files}:
        (tmp_path / file).write_text("max 100000" if file == "cpu.max" else "")
    limits_v2.apply(str(tmp_path), limits)
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("limits", [Limits(swappiness=10), Limits(oom_kill_disable=True)])
def test_what_version_2_lacks_is_refused(unified: Cgroup, limits: Limits) -> None:
    with pytest.raises(ValueError, match="version 2"):
        unified.apply(limits)


def test_the_parents_controllers_are_handed_down(unified: Cgroup) -> None:
    root = unified.paths()[cgroups.UNIFIED].removesuffix(unified.path)
    available = Path(root, "cgroup.controllers").read_text().split()
    wanted = [name for name in available if name in ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")]
    if not wanted:
        pytest.skip("the version 2 hierarchy of this host has no controllers")
    received = Path(unified.paths()[cgroups.UNIFIED], "cgroup.controllers").read_text().split()
    assert set(wanted) <= set(received)


def test_a_parent_with_processes_cannot_hand_down(unified: Cgroup, member: Any) -> None:
    root = unified.paths()[cgroups.UNIFIED].removesuffix(unified.path)
    directory = unified.paths()[cgroups.UNIFIED]
    if not Path(directory, "cgroup.controllers").read_text().strip():
        pytest.skip("the version 2 hierarchy of this host has no controllers")
    with member(unified, sleep_long) as pid:
        child = CgroupV2(unified.path + "/child", root)
        with pytest.raises(OSError) as caught:
            child.create()
        assert caught.value.errno == errno.EBUSY
        assert any(str(pid) in note for note in caught.value.__notes__)
        assert not child.exists()


def test_counting_oom_kills_without_the_memory_controller_is_an_error(bare_unified: Cgroup) -> None:
    with pytest.raises(OSError, match=r"memory\.events"):
        bare_unified.oom_kills()


def test_no_file_is_made_for_a_limit_that_does_not_exist(bare_unified: Cgroup) -> None:
    before = set(os.listdir(bare_unified.paths()[cgroups.UNIFIED]))
    with pytest.raises(FileNotFoundError, match=r"memory\.max"):
        bare_unified.apply(Limits(memory=1 << 20))
    assert set(os.listdir(bare_unified.paths()[cgroups.UNIFIED])) == before


def test_each_version_knows_which_limits_it_has() -> None:
    first, second = cgroups.Hierarchy(1, {}), cgroups.Hierarchy(2, {})
    assert first.knows("memory")
    assert second.knows("memory")
    assert [first.knows("swappiness"), second.knows("swappiness")] == [True, False]
    assert [first.knows("oom_kill_disable"), second.knows("oom_kill_disable")] == [True, False]
