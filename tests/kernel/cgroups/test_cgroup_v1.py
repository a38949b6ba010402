"""What is peculiar to version 1: independent trees, the cpuset that starts empty, and `tasks`."""

import errno
import os
from pathlib import Path

import pytest

from minidock.kernel import cgroups
from minidock.kernel.cgroup_v1 import CgroupV1
from minidock.kernel.cgroups import Cgroup, Limits
from minidock.kernel.devices import ALL_DEVICES, DEFAULT_RULES, DeviceRule

HIERARCHY = cgroups.hierarchy()
pytestmark = pytest.mark.skipif(
    HIERARCHY.version != 1, reason="this host has no cgroups version 1 controllers"
)


def text(cgroup: Cgroup, controller: str, name: str) -> str:
    return Path(cgroup.paths()[controller], name).read_text().strip()


def test_a_parent_missing_in_one_hierarchy_only_is_made_there(limited: Cgroup) -> None:
    other = HIERARCHY.at(limited.path + "-other/child")
    os.makedirs(os.path.dirname(other.paths()["pids"]))
    other.create()
    try:
        assert all(os.path.isdir(directory) for directory in other.paths().values())
    finally:
        HIERARCHY.at(limited.path + "-other").delete()


def test_a_new_cpuset_has_the_cpus_of_its_parent_and_an_empty_parent_is_filled(limited: Cgroup) -> None:
    if "cpuset" not in limited.paths():
        pytest.skip("no cpuset controller")
    directory = limited.paths()["cpuset"] + "/empty"
    os.mkdir(directory)
    assert Path(directory, "cpuset.cpus").read_text() == "\n"  # the twin: what the kernel does by itself
    below = HIERARCHY.at(limited.path + "/empty/below")
    below.create()
    root = HIERARCHY.mounts["cpuset"]
    for name in ("cpuset.cpus", "cpuset.mems"):
        assert text(below, "cpuset", name) == Path(root, name).read_text().strip()
    below.delete()


def test_a_failed_create_leaves_nothing(limited: Cgroup, parent: str) -> None:
    broken = dict(HIERARCHY.mounts) | {"pids": "/proc/self/no-such-hierarchy"}
    half = CgroupV1(f"{parent}/half", broken)
    with pytest.raises(FileNotFoundError):
        half.create()
    assert not half.exists()


def test_joining_uses_tasks_in_each_version_1_hierarchy(limited: Cgroup) -> None:
    descriptors = limited.join_descriptors()
    opened = {os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in descriptors}
    for descriptor in descriptors:
        os.close(descriptor)
    directories = {d for name, d in limited.paths().items() if name != cgroups.UNIFIED}
    assert opened == {f"{directory}/tasks" for directory in directories}


def test_memory_alone_cannot_be_raised_above_memory_and_swap(limited: Cgroup) -> None:
    limited.apply(Limits(memory=64 << 20, memory_swap=64 << 20))
    with pytest.raises(ValueError, match="already set memoryswap limit"):
        limited.apply(Limits(memory=65 << 20))
    limited.apply(Limits(memory=-1))
    assert limited.statistics().memory_limit is None


def test_swappiness_and_the_oom_killer_are_read_back(limited: Cgroup) -> None:
    limited.apply(Limits(swappiness=7, oom_kill_disable=True))
    assert text(limited, "memory", "memory.swappiness") == "7"
    assert "oom_kill_disable 1" in text(limited, "memory", "memory.oom_control")
    limited.apply(Limits(oom_kill_disable=False))
    assert "oom_kill_disable 0" in text(limited, "memory", "memory.oom_control")
    with pytest.raises(ValueError, match="swappiness"):
        limited.apply(Limits(swappiness=101))


def test_quota_and_period_together_keep_within_the_parents_ratio(limited: Cgroup) -> None:
    limited.apply(Limits(cpu_quota_usec=50000, cpu_period_usec=100000))
    child = HIERARCHY.at(limited.path + "/child")
    child.create()
    child.apply(Limits(cpu_quota_usec=50000, cpu_period_usec=100000))
    child.apply(Limits(cpu_quota_usec=2000, cpu_period_usec=10000))  # period first: 50000/10000 is too much
    assert text(child, "cpu", "cpu.cfs_quota_us") == "2000"
    with pytest.raises(OSError) as caught:
        child.apply(Limits(cpu_quota_usec=9000, cpu_period_usec=10000))
    assert caught.value.errno == errno.EINVAL


def test_device_rules_are_what_the_kernel_lists(limited: Cgroup) -> None:
    limited.restrict_devices(DEFAULT_RULES)
    listed = set(text(limited, "devices", "devices.list").splitlines())
    assert listed == {str(rule) for rule in DEFAULT_RULES[1:]}
    limited.restrict_devices([DeviceRule(False), DeviceRule(True, "c", 1, 3, "r")])
    assert text(limited, "devices", "devices.list") == "c 1:3 r"
    limited.restrict_devices([])
    assert text(limited, "devices", "devices.list") == ""
    limited.restrict_devices(ALL_DEVICES)
    assert text(limited, "devices", "devices.list") == "a *:* rwm"


def test_a_missing_controller_is_named(parent: str) -> None:
    cgroup = CgroupV1(f"{parent}/none", {"cpu": HIERARCHY.mounts["cpu"]})
    with pytest.raises(OSError, match="'pids' is not mounted"):
        cgroup.apply(Limits(pids=3))
    with pytest.raises(OSError, match="'devices' is not mounted"):
        cgroup.restrict_devices(DEFAULT_RULES)
