"""The arithmetic of `minidock stats`."""

from minidock.cli.stats import cache, cpu_percent


def test_a_share_of_the_cpu_is_a_quotient_of_two_growths() -> None:
    before = {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 10_000}
    now = {"cpu_usage": {"total_usage": 2_000}, "system_cpu_usage": 14_000, "online_cpus": 2}
    assert cpu_percent(before, now) == 50.0
    assert cpu_percent(now, now) == 0.0


def test_files_that_can_be_dropped_are_not_used_memory() -> None:
    assert cache({"total_inactive_file": 5, "inactive_file": 3}) == 5
    assert cache({"inactive_file": 3}) == 3
    assert cache({}) == 0
