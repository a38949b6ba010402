"""What every cgroup can do: these cases run unchanged on hosts with version 1, version 2 and both."""

import errno
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroup_v1_limits, cgroup_v2_limits, cgroups
from minidock.kernel.cgroup_v1 import CgroupV1
from minidock.kernel.cgroup_v2 import CgroupV2
from minidock.kernel.cgroups import BlockDeviceValue, Cgroup, Limits

MIB = 1 << 20
HIERARCHY = cgroups.hierarchy()


def sleep_long() -> None:
    while True:
        time.sleep(60)


def file(cgroup: Cgroup, controller: str, name: str) -> str:
    directory = cgroup.paths().get(controller) or cgroup.paths()[cgroups.UNIFIED]
    return Path(directory, name).read_text().strip()


def first_disk() -> tuple[int, int]:
    for device in sorted(Path("/sys/block").iterdir()):
        if not device.name.startswith(("ram", "zram")):
            major, minor = (device / "dev").read_text().strip().split(":")
            return int(major), int(minor)
    pytest.skip("this host has no block device")


def cgroups_of(pid: int) -> set[str]:
    return {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


@pytest.mark.parametrize("path", ["", "minidock", "/", "/a/../b", "/a//b", "/a/", "/./a"])
def test_a_path_that_could_leave_its_place_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="invalid cgroup path"):
        cgroups.at(path)


def test_every_hierarchy_lies_on_a_cgroup_file_system() -> None:
    for root in HIERARCHY.mounts.values():
        kind = subprocess.run(
            ["stat", "-f", "-c", "%t", root], capture_output=True, text=True, check=True
        ).stdout
        assert int(kind, 16) in (cgroups.CGROUP_SUPER_MAGIC, cgroups.CGROUP2_SUPER_MAGIC)


def test_every_version_1_hierarchy_of_the_kernel_is_found() -> None:
    mounted = {
        name
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        for name in line.split(":")[1].split(",")
        if name
    }
    assert mounted <= set(HIERARCHY.mounts)  # of a version 2 host: none


def test_a_cgroup_is_a_directory_in_each_hierarchy_and_gone_after_delete(cgroup: Cgroup) -> None:
    directories = cgroup.paths().values()
    assert all(Path(directory, "cgroup.procs").exists() for directory in directories)
    cgroup.delete()
    assert not any(os.path.exists(directory) for directory in directories)
    assert not cgroup.exists()
    cgroup.delete()


def test_a_left_over_cgroup_is_made_anew_without_its_children(cgroup: Cgroup) -> None:
    below = [os.path.join(directory, "below") for directory in cgroup.paths().values()]
    for directory in dict.fromkeys(below):
        os.mkdir(directory)
    cgroup.create()
    assert cgroup.exists()
    assert not any(os.path.exists(directory) for directory in below)


def test_a_cgroup_with_processes_is_not_made_anew(cgroup: Cgroup, member: Any) -> None:
    with member(cgroup, sleep_long):
        with pytest.raises(OSError, match="still holds processes") as caught:
            cgroup.create()
        assert caught.value.errno == errno.EBUSY
        cgroup.create(exist_ok=True)
        assert cgroup.processes()


def test_parents_are_made_as_deep_as_needed(parent: str, member: Any) -> None:
    deep = cgroups.at(f"{parent}/a/b/c")
    deep.create()
    try:
        with member(deep, sleep_long) as pid:
            assert f"{parent}/a/b/c" in cgroups_of(pid)
            deep.kill()
    finally:
        deep.delete()
        cgroups.at(parent).delete()
    assert not cgroups.at(parent).exists()


def test_a_process_joins_by_descriptors_opened_before(cgroup: Cgroup, member: Any) -> None:
    with member(cgroup, sleep_long) as pid:
        assert cgroup.processes() == [pid]
        assert cgroup.path in cgroups_of(pid)
    assert cgroup.processes() == []


def test_a_process_with_threads_is_joined_whole(cgroup: Cgroup) -> None:
    program = (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('started', flush=True)"
    )
    with subprocess.Popen(["python3", "-c", program], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            cgroup.join(child.pid)
            tasks = os.listdir(f"/proc/{child.pid}/task")
            assert len(tasks) == 2
            for task in tasks:
                assert cgroup.path in cgroups_of(int(task))
        finally:
            child.kill()


def test_join_descriptors_are_closed_by_exec(cgroup: Cgroup) -> None:
    for descriptor in cgroup.join_descriptors():
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_joining_a_closed_descriptor_fails_loudly(cgroup: Cgroup) -> None:
    descriptors = cgroup.join_descriptors()
    for descriptor in descriptors:
        os.close(descriptor)
    with pytest.raises(OSError) as caught:
        cgroups.join_by(descriptors)
    assert caught.value.errno == errno.EBADF


def test_processes_of_cgroups_below_count_too(cgroup: Cgroup, member: Any, eventually: Any) -> None:
    directories = cgroup.paths()
    below = {name: directory + "/below" for name, directory in directories.items()}
    cgroups_below = CgroupV1(
        cgroup.path + "/below", {n: d.removesuffix(cgroup.path) for n, d in directories.items()}
    )
    if HIERARCHY.version == 2 or set(below) == {cgroups.UNIFIED}:
        os.mkdir(
            below[cgroups.UNIFIED]
        )  # made by hand: nothing is handed down, so the parent may hold processes
        cgroups_below = CgroupV2(
            cgroup.path + "/below", directories[cgroups.UNIFIED].removesuffix(cgroup.path)
        )
    else:
        cgroups_below.create()
    with member(cgroups_below, sleep_long) as pid:
        assert cgroup.processes() == [pid]
        cgroup.kill()
        assert eventually(lambda: not cgroup.processes())


def count_forever(path: str) -> None:
    number = 0
    while True:
        number += 1
        Path(path).write_text(str(number))


def test_a_frozen_process_stands_still_until_it_is_thawed(
    cgroup: Cgroup, tmp_path: Path, member: Any, eventually: Any
) -> None:
    counter = tmp_path / "counter"
    with member(cgroup, lambda: count_forever(str(counter))):
        assert eventually(counter.exists)
        assert not cgroup.is_frozen()
        cgroup.freeze()
        assert cgroup.is_frozen()
        frozen = counter.read_text()
        time.sleep(0.05)
        assert counter.read_text() == frozen
        cgroup.thaw()
        assert not cgroup.is_frozen()
        assert eventually(lambda: counter.read_text() != frozen)


def test_a_frozen_process_can_be_killed(cgroup: Cgroup, member: Any, eventually: Any) -> None:
    with member(cgroup, sleep_long):
        cgroup.freeze()
        cgroup.kill()
        assert eventually(lambda: not cgroup.processes())


def fork_forever() -> None:
    """A fork bomb of constant size: each process is replaced by its child."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if os.fork():
            os._exit(0)


def test_no_process_escapes_a_kill_by_forking(cgroup: Cgroup, member: Any, eventually: Any) -> None:
    with member(cgroup, fork_forever):
        time.sleep(0.02)
        cgroup.kill()
        assert eventually(lambda: not cgroup.processes())
        time.sleep(0.02)
        assert not cgroup.processes()


def test_killing_an_empty_or_missing_cgroup_does_nothing(cgroup: Cgroup) -> None:
    cgroup.kill()
    cgroup.delete()
    cgroup.kill()


def test_delete_waits_for_the_killed_and_refuses_the_living(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch, member: Any
) -> None:
    with member(cgroup, sleep_long):
        monkeypatch.setattr("minidock.kernel.cgroup_files.remove.__defaults__", (0.05,))
        with pytest.raises(OSError, match="still holds processes"):
            cgroup.delete()
        monkeypatch.undo()
        cgroup.kill()
        cgroup.delete()
        assert not cgroup.exists()


def test_a_child_can_be_born_in_the_version_2_tree(limited: Cgroup) -> None:
    descriptor = limited.clone_descriptor()
    if cgroups.UNIFIED not in limited.paths():
        assert descriptor is None
        return
    assert descriptor is not None
    assert os.path.samefile(f"/proc/self/fd/{descriptor}", limited.paths()[cgroups.UNIFIED])
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


# Limits: field(s), Limits, and what the files of version 1 and version 2 must say afterwards.
SET = [
    pytest.param(
        Limits(memory=64 * MIB), ("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")
    ),
    pytest.param(
        Limits(memory=64 * MIB + 1),
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    ),
    pytest.param(
        Limits(memory=64 * MIB, memory_swap=96 * MIB),
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
    ),
    pytest.param(
        Limits(memory=64 * MIB, memory_swap=64 * MIB),
        ("memory", "memory.memsw.limit_in_bytes", str(64 * MIB)),
        ("memory.swap.max", "0"),
    ),
    pytest.param(
        Limits(memory=64 * MIB, memory_swap=-1),
        ("memory", "memory.memsw.limit_in_bytes", str(2**63 - 4096)),
        ("memory.swap.max", "max"),
    ),
    pytest.param(
        Limits(memory_reservation=32 * MIB),
        ("memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
        ("memory.low", str(32 * MIB)),
    ),
    pytest.param(Limits(cpu_shares=512), ("cpu", "cpu.shares", "512"), ("cpu.weight", "59")),
    pytest.param(
        Limits(cpu_quota_usec=50000, cpu_period_usec=200000),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu.max", "50000 200000"),
    ),
    pytest.param(Limits(cpu_quota_usec=-1), ("cpu", "cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    pytest.param(
        Limits(cpu_period_usec=50000), ("cpu", "cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")
    ),
    pytest.param(Limits(cpuset_cpus="0"), ("cpuset", "cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    pytest.param(Limits(cpuset_mems="0"), ("cpuset", "cpuset.mems", "0"), ("cpuset.mems", "0")),
    pytest.param(Limits(pids=17), ("pids", "pids.max", "17"), ("pids.max", "17")),
    pytest.param(Limits(pids=-1), ("pids", "pids.max", "max"), ("pids.max", "max")),
]


@pytest.mark.parametrize(("limits", "version_1", "version_2"), SET)
def test_a_limit_is_what_the_kernel_then_says(
    limited: Cgroup, limits: Limits, version_1: tuple[str, str, str], version_2: tuple[str, str], require: Any
) -> None:
    require(limited, *(field for field, value in vars(limits).items() if value not in (None, ())))
    limited.apply(limits)
    if HIERARCHY.version == 1:
        controller, name, expected = version_1
        assert file(limited, controller, name) == expected
    else:
        assert file(limited, cgroups.UNIFIED, version_2[0]) == version_2[1]


def test_memory_and_swap_can_be_raised_and_lowered_in_any_order(limited: Cgroup, require: Any) -> None:
    require(limited, "memory", "memory_swap")
    for memory, swap in ((64, 128), (256, 512), (32, 32), (32, -1), (128, 160), (-1, -1), (64, 64)):
        limited.apply(
            Limits(memory=memory * MIB if memory > 0 else -1, memory_swap=swap * MIB if swap > 0 else -1)
        )
        assert limited.statistics().memory_limit == (memory * MIB if memory > 0 else None)


def test_swap_below_memory_is_refused(limited: Cgroup, require: Any) -> None:
    require(limited, "memory", "memory_swap")
    with pytest.raises(ValueError, match="less than the memory limit"):
        limited.apply(Limits(memory=64 * MIB, memory_swap=32 * MIB))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(cpu_shares=1),
        Limits(cpu_shares=262145),
        Limits(cpu_quota_usec=1),
        Limits(cpu_period_usec=1),
        Limits(cpuset_cpus="100000"),
        Limits(cpuset_cpus="zero"),
        Limits(cpuset_mems="63"),
        Limits(blkio_weight=9),
        Limits(blkio_weight=1001),
    ],
)
def test_an_impossible_limit_is_an_error_and_never_clamped(
    limited: Cgroup, limits: Limits, require: Any
) -> None:
    require(limited, *(field for field, value in vars(limits).items() if value not in (None, ())))
    with pytest.raises((OSError, ValueError)):
        limited.apply(limits)


def test_an_error_names_the_file_and_the_value(limited: Cgroup, require: Any) -> None:
    require(limited, "cpu_quota_usec")
    with pytest.raises(OSError, match=r"cpu\.(cfs_quota_us|max)") as caught:
        limited.apply(Limits(cpu_quota_usec=1))
    assert any("'1" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("field", ["blkio_weight", "memory", "cpu_shares", "pids"])
def test_a_limit_that_the_kernel_lacks_is_an_error_that_names_it(bare: Cgroup, field: str) -> None:
    assert field not in bare.supported()
    with pytest.raises(OSError, match=r"weight|blkio|memory|cpu|pids"):
        bare.apply(Limits(**{field: 100}))


def test_supported_names_only_fields_of_limits(cgroup: Cgroup) -> None:
    fields = set(vars(Limits()))
    assert cgroup.supported() <= fields
    assert set(cgroup_v1_limits.FILES) == fields
    assert fields - set(cgroup_v2_limits.FILES) == {"swappiness", "oom_kill_disable"}


def test_a_block_io_weight_is_read_back(limited: Cgroup, require: Any) -> None:
    require(limited, "blkio_weight")
    limited.apply(Limits(blkio_weight=300))
    limited.apply(Limits(blkio_weight=10))
    limited.apply(Limits(blkio_weight=1000))


@pytest.mark.parametrize(
    "field",
    [
        "read_bytes_per_second",
        "write_bytes_per_second",
        "read_operations_per_second",
        "write_operations_per_second",
    ],
)
def test_a_throttle_is_set_and_taken_away(limited: Cgroup, field: str, require: Any) -> None:
    require(limited, field)
    major, minor = first_disk()
    limited.apply(Limits(**{field: (BlockDeviceValue(major, minor, 1 * MIB),)}))
    directory = limited.paths().get("blkio") or limited.paths()[cgroups.UNIFIED]
    texts = [
        path.read_text()
        for path in Path(directory).glob("*")
        if "throttle" in path.name or path.name == "io.max"
    ]
    assert any(f"{major}:{minor} " in text and str(MIB) in text for text in texts)
    limited.apply(Limits(**{field: (BlockDeviceValue(major, minor, 0),)}))
    with pytest.raises(OSError):
        limited.apply(Limits(**{field: (BlockDeviceValue(4095, 77, MIB),)}))


def hold_memory() -> None:
    blocks = []
    while True:
        blocks.append(b"x" * MIB)


def test_a_process_beyond_its_memory_is_killed_and_counted(
    limited: Cgroup, member: Any, require: Any, eventually: Any
) -> None:
    require(limited, "memory")
    swap = {"memory_swap": 32 * MIB} if "memory_swap" in limited.supported() else {}
    limited.apply(Limits(memory=32 * MIB, **swap))
    assert limited.oom_kills() == 0
    with member(limited, hold_memory) as pid:
        assert eventually(lambda: limited.oom_kills() == 1)
        assert eventually(lambda: not limited.processes())
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_status == signal.SIGKILL
    assert limited.oom_kills() == 1


def fork_many() -> None:
    for _ in range(50):
        try:
            if os.fork() == 0:
                sleep_long()
        except BlockingIOError:
            pass
    sleep_long()


def test_no_more_processes_than_the_limit_are_made(
    limited: Cgroup, member: Any, require: Any, eventually: Any
) -> None:
    require(limited, "pids")
    limited.apply(Limits(pids=5))
    with member(limited, fork_many):
        assert eventually(lambda: len(limited.processes()) == 5)
        time.sleep(0.05)
        assert limited.statistics().pids == 5
        assert limited.statistics().pids_limit == 5
        limited.kill()


def spin() -> None:
    while True:
        pass


def test_a_process_over_its_quota_is_throttled(
    limited: Cgroup, member: Any, require: Any, eventually: Any
) -> None:
    require(limited, "cpu_quota_usec", "cpu_period_usec")
    limited.apply(Limits(cpu_quota_usec=1000, cpu_period_usec=10000))
    with member(limited, spin):
        assert eventually(lambda: (limited.statistics().cpu_throttled_periods or 0) > 0)
        assert (limited.statistics().cpu_usage_ns or 0) > 0
        assert eventually(lambda: (limited.statistics().cpu_throttled_ns or 0) > 0)


def test_statistics_of_a_fresh_cgroup_are_complete(limited: Cgroup, require: Any) -> None:
    require(limited, "memory", "pids", "cpu_quota_usec")
    statistics = limited.statistics()
    assert statistics.memory_usage == 0
    assert statistics.memory_limit is None
    assert statistics.pids == 0
    assert statistics.pids_limit is None
    assert statistics.memory
    assert statistics.cpu_periods == 0


def test_statistics_say_none_for_what_is_not_counted(bare: Cgroup) -> None:
    assert bare.statistics().memory_usage is None
    assert bare.statistics().pids is None
