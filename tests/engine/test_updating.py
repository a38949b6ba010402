"""update, top and stats: limits that change while the container runs, and what is read from the kernel."""

import time
from pathlib import Path

import pytest

from minidock.engine import containers, processes, statistics, updating
from minidock.engine.model import HostConfig, RestartPolicy
from minidock.errors import Conflict, InvalidParameter
from tests.engine.conftest import Bench

MIB = 1 << 20


def test_limits_change_while_the_container_runs_and_are_recorded(bench: Bench) -> None:
    identifier = bench.start("sleep", "600", memory=64 * MIB, pids_limit=10)
    wanted = HostConfig(memory=32 * MIB, pids_limit=20, cpu_shares=512)
    assert updating.update(bench.engine, identifier, wanted) == []
    container = containers.find(bench.engine, identifier)
    used = bench.engine.cgroup(container).statistics()
    assert (used.memory_limit, used.pids_limit) == (32 * MIB, 20)
    host = container.record.host_config
    assert (host.memory, host.memory_swap, host.cpu_shares) == (32 * MIB, 128 * MIB, 512)
    updating.update(bench.engine, identifier, HostConfig(pids_limit=-1))
    assert bench.engine.cgroup(container).statistics().pids_limit is None


def test_an_update_that_cannot_be_leaves_everything_as_it_was(bench: Bench) -> None:
    identifier = bench.start("sleep", "600", memory=64 * MIB)
    container = containers.find(bench.engine, identifier)
    before = container.record
    for wanted, words in (
        (HostConfig(memory=1), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=512 * MIB), "already set memoryswap limit"),
        (HostConfig(restart_policy=RestartPolicy(name="sometimes")), "invalid restart policy"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            updating.update(bench.engine, identifier, wanted)
    assert container.record == before


def test_a_restart_policy_can_be_changed(bench: Bench) -> None:
    identifier = bench.start("sleep", "0.2")
    updating.update(bench.engine, identifier, HostConfig(restart_policy=RestartPolicy(name="always")))
    container = containers.find(bench.engine, identifier)
    deadline = time.monotonic() + 30
    while container.state.restart_count == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    updating.update(bench.engine, identifier, HostConfig(restart_policy=RestartPolicy(name="no")))


def test_top_shows_the_containers_processes_and_nobody_elses(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "sleep 611; true")
    container = containers.find(bench.engine, identifier)
    deadline = time.monotonic() + 30
    while len(bench.engine.cgroup(container).processes()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    table = processes.top(bench.engine, identifier, "-o pid,args")
    assert table.titles == ["PID", "COMMAND"]
    assert sorted(row[1] for row in table.processes) == ["sh -c sleep 611; true", "sleep 611"]
    assert "CMD" in processes.top(bench.engine, identifier).titles
    with pytest.raises(InvalidParameter):
        processes.top(bench.engine, identifier, "-o args")
    with pytest.raises(Conflict):
        processes.top(bench.engine, bench.create("true"))


def test_a_sample_has_real_numbers(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "while :; do :; done", memory=64 * MIB)
    container = containers.find(bench.engine, identifier)
    first = statistics.sample(bench.engine, container)
    time.sleep(0.3)
    second = statistics.sample(bench.engine, container)
    assert first.used is not None
    assert second.used is not None
    assert (second.used.cpu_usage_ns or 0) > (first.used.cpu_usage_ns or 0)
    assert second.system_cpu_ns > first.system_cpu_ns
    assert second.memory_limit == 64 * MIB
    assert Path("/proc/stat").exists()
    stopped = statistics.sample(bench.engine, containers.find(bench.engine, bench.create("true")))
    assert stopped.used is None
