"""Health checks: what their results say, and what stays when one hangs."""

import os
import time
from pathlib import Path

import pytest

from minidock.engine import containers, execs, health, inspection, lifecycle, listing
from minidock.engine.model import ContainerConfig, Healthcheck
from minidock.engine.views import HealthState
from tests.engine.conftest import PATIENCE, Bench

MS = 1_000_000


def await_health(bench: Bench, identifier: str, wanted: str) -> HealthState:
    """Wait until the check says so; return what inspect shows."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = inspection.inspect(bench.engine, identifier).state.health
        assert found is not None
        if found.status == wanted:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def check(*test: str, **times: int) -> Healthcheck:
    return Healthcheck(test=list(test), interval=50 * MS, **times)


def test_a_check_makes_healthy_and_unhealthy_and_tells_of_it(bench: Bench) -> None:
    since = time.time_ns()
    identifier = bench.start(
        "sleep", "600", healthcheck=check("CMD-SHELL", "echo looked; test -e /ok", retries=2)
    )
    found = await_health(bench, identifier, "unhealthy")
    assert (found.log[-1].exit_code, found.log[-1].output) == (1, "looked\n")
    assert found.failing_streak >= 2
    make_file(bench, identifier)
    assert await_health(bench, identifier, "healthy").failing_streak == 0
    (line,) = listing.summaries(bench.engine, filters={"id": [identifier], "health": ["healthy"]})
    assert line.status.endswith("(healthy)")
    with bench.engine.events.subscribe(since) as subscription:
        told = [event.action for event in subscription.take() if event.actor.id == identifier]
    assert [action for action in told if action.startswith("health")] == [
        "health_status: unhealthy",
        "health_status: healthy",
    ]


def make_file(bench: Bench, identifier: str) -> None:
    one = execs.claim(
        bench.engine, execs.create(bench.engine, identifier, execs.ExecConfig(cmd=["touch", "/ok"]))
    )
    execs.start(bench.engine, one)
    assert one.ended.wait(PATIENCE)


def test_only_five_results_are_kept_and_of_each_4096_bytes(bench: Bench) -> None:
    identifier = bench.start(
        "sleep", "600", healthcheck=check("CMD", "sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x")
    )
    deadline = time.monotonic() + PATIENCE
    first = await_health(bench, identifier, "healthy").log[0].start
    while (found := await_health(bench, identifier, "healthy")).log[0].start == first:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(found.log) == 5
    assert found.log[0].output == "x" * 4096 + "..."


def test_a_check_that_hangs_is_killed_and_has_failed(bench: Bench) -> None:
    identifier = bench.start(
        "sleep", "600", healthcheck=check("CMD", "sleep", "555", timeout=100 * MS, retries=1)
    )
    found = await_health(bench, identifier, "unhealthy")
    assert (found.log[0].exit_code, found.log[0].output) == (-1, "Health check exceeded timeout (100ms)")
    container = containers.find(bench.engine, identifier)
    assert container.health is not None
    container.health.stop()
    deadline = time.monotonic() + PATIENCE
    while any(is_hanging(pid) for pid in bench.engine.cgroup(container).processes()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_hanging(pid: int) -> bool:
    try:
        return b"555" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_failures_do_not_count_while_the_program_starts_up(bench: Bench) -> None:
    identifier = bench.start(
        "sleep",
        "600",
        healthcheck=check("CMD", "false", start_period=10**12, start_interval=50 * MS, retries=1),
    )
    deadline = time.monotonic() + PATIENCE
    while len((found := await_health(bench, identifier, "starting")).log) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found.failing_streak == 0


def test_a_check_that_cannot_be_run_has_failed(bench: Bench) -> None:
    identifier = bench.start("sleep", "600", healthcheck=check("CMD", "no-such-program", retries=1))
    found = await_health(bench, identifier, "unhealthy")
    assert found.log[0].exit_code == 127
    assert "executable file not found" in found.log[0].output


@pytest.mark.parametrize("test", [None, [], ["NONE"]])
def test_without_a_check_nothing_is_said_about_health(bench: Bench, test: list[str] | None) -> None:
    identifier = bench.start("sleep", "600", healthcheck=Healthcheck(test=test))
    assert inspection.inspect(bench.engine, identifier).state.health is None
    lifecycle.remove(bench.engine, identifier, force=True)


def test_the_shell_of_the_image_runs_a_shell_check(bench: Bench) -> None:
    identifier = bench.create(
        "true", healthcheck=Healthcheck(test=["CMD-SHELL", "a b"]), shell=["/bin/ash", "-ec"]
    )
    assert health.command(containers.find(bench.engine, identifier)) == ["/bin/ash", "-ec", "a b"]
    assert ContainerConfig().shell is None


def test_the_end_of_a_container_ends_the_thread_of_its_check(fresh_bench: Bench) -> None:
    before = len(os.listdir("/proc/self/task"))
    identifier = fresh_bench.start("sleep", "600", healthcheck=check("CMD", "true"))
    await_health(fresh_bench, identifier, "healthy")
    lifecycle.remove(fresh_bench.engine, identifier, force=True)
    deadline = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
