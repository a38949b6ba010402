"""Restart policies: who starts again, after how long, and who has the last word."""

import time

import pytest

from minidock.engine import containers, inspection, lifecycle, restarting
from minidock.engine.model import RestartPolicy
from minidock.engine.restarting import FIRST_PAUSE, LONG_RUN, LONGEST_PAUSE
from minidock.errors import Conflict
from tests.engine.conftest import PATIENCE, Bench


def await_status(bench: Bench, identifier: str, wanted: str, restarts: int = 0) -> None:
    """Wait until the container has this status and at least so many restarts."""
    container = containers.find(bench.engine, identifier)
    deadline = time.monotonic() + PATIENCE
    while container.status != wanted or container.state.restart_count < restarts:
        assert time.monotonic() < deadline, (container.status, container.state)
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "limit", "code", "count", "by_user", "wanted"),
    [
        ("no", 0, 1, 0, False, False),
        ("", 0, 1, 0, False, False),
        ("always", 0, 0, 99, True, True),
        ("unless-stopped", 0, 0, 99, False, True),
        ("unless-stopped", 0, 1, 0, True, False),
        ("on-failure", 0, 0, 0, False, False),
        ("on-failure", 0, 1, 99, False, True),
        ("on-failure", 3, 1, 2, False, True),
        ("on-failure", 3, 1, 3, False, False),
    ],
)
def test_each_policy_decides_by_its_own_rule(
    name: str, limit: int, code: int, count: int, by_user: bool, wanted: bool
) -> None:
    policy = RestartPolicy(name=name, maximum_retry_count=limit)
    assert restarting.is_wanted(policy, code, count, by_user) is wanted


def test_the_pause_doubles_up_to_a_minute_and_a_long_run_makes_it_short_again() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(restarting.next_pause(pauses[-1], ran=0.5))
    assert pauses[1:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert restarting.next_pause(LONGEST_PAUSE, ran=LONG_RUN) == FIRST_PAUSE


def test_on_failure_gives_up_after_its_number_of_restarts(bench: Bench) -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    identifier = bench.start("sh", "-c", "echo run; exit 4", restart_policy=policy)
    await_status(bench, identifier, "exited", restarts=2)
    assert bench.output(identifier) == "run\n" * 3
    found = inspection.inspect(bench.engine, identifier)
    assert (found.restart_count, found.state.exit_code, found.state.running) == (2, 4, False)


def test_a_container_between_two_runs_is_running_and_restarting(bench: Bench) -> None:
    identifier = bench.start("false", restart_policy=RestartPolicy(name="always"))
    await_status(bench, identifier, "restarting", restarts=3)  # now the pause is long enough to look
    state = inspection.inspect(bench.engine, identifier).state
    assert (state.running, state.restarting, state.pid) == (True, True, 0)
    with pytest.raises(Conflict, match="is restarting"):
        lifecycle.remove(bench.engine, identifier)
    lifecycle.stop(bench.engine, identifier)
    assert containers.find(bench.engine, identifier).status == "exited"
    lifecycle.start(bench.engine, identifier)
    await_status(bench, identifier, "restarting")
    lifecycle.remove(bench.engine, identifier, force=True)


def test_what_the_user_stops_is_not_started_again(bench: Bench) -> None:
    identifier = bench.start("sleep", "600", restart_policy=RestartPolicy(name="always"))
    lifecycle.kill(bench.engine, identifier)
    time.sleep(3 * FIRST_PAUSE)
    assert containers.find(bench.engine, identifier).status == "exited"


def test_the_next_engine_starts_what_its_policy_says(fresh_bench: Bench) -> None:
    names = ("always", "unless-stopped", "no")
    stopped = {
        name: fresh_bench.start("sleep", "600", restart_policy=RestartPolicy(name=name)) for name in names
    }
    pausing = fresh_bench.start("false", restart_policy=RestartPolicy(name="unless-stopped"))
    for identifier in stopped.values():
        lifecycle.stop(fresh_bench.engine, identifier, timeout=0)
    await_status(fresh_bench, pausing, "restarting", restarts=1)
    fresh_bench.reopen()
    await_status(fresh_bench, stopped["always"], "running")
    await_status(fresh_bench, pausing, "restarting", restarts=2)
    for name in ("unless-stopped", "no"):
        assert containers.find(fresh_bench.engine, stopped[name]).status == "exited"
