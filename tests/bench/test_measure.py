"""Contestants take turns, and a contestant that fails is left out with its reason."""

import json

import pytest

from bench import report
from bench.engines import Failed
from bench.measure import Contestant, Result, take_turns


def failing() -> None:
    raise Failed("it does not do that")


def test_contestants_take_turns_and_the_warm_up_is_not_counted() -> None:
    order: list[str] = []
    result = Result("work", "ms", "docker/5")
    contestants = {name: Contestant(lambda name=name: order.append(name)) for name in ("a", "b")}  # type: ignore[misc]
    take_turns(result, contestants, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(samples) for name, samples in result.samples.items()} == {"a": 2, "b": 2}


def test_only_the_act_is_timed_and_the_clearing_always_happens() -> None:
    steps: list[str] = []
    contestant = Contestant(
        act=lambda: steps.append("act"),
        before=lambda: steps.append("before"),
        after=lambda: steps.append("after"),
    )
    take_turns(Result("work", "ms", ""), {"a": contestant}, 1, warm_up=False)
    take_turns(Result("work", "ms", ""), {"b": Contestant(failing, after=lambda: steps.append("b"))}, 1)
    assert steps == ["before", "act", "after", "b"]


def test_a_contestant_that_fails_is_left_out_with_its_reason() -> None:
    result = Result("work", "ms", "")
    take_turns(result, {"minidock": Contestant(lambda: None), "peer": Contestant(failing)}, 2)
    assert set(result.samples) == {"minidock"}
    assert result.skipped == {"peer": "it does not do that"}
    assert "peer left out: it does not do that" in report.table([result], ["peer"])


def test_the_ratio_says_how_many_times_less_minidock_needs() -> None:
    result = Result("work", "ms", "docker/5", {"minidock": [0.01, 0.03, 0.02], "dockerd": [0.1, 0.1]})
    assert result.ratio("dockerd") == pytest.approx(5)
    assert result.ratio("podman") is None
    assert "100 (x 5.0)" in report.table([result], ["dockerd"])
    row = json.loads(report.document([result], {}))["rows"][0]
    assert row["medians"] == {"minidock": 0.02, "dockerd": 0.1}
    assert row["ratios_to_minidock"]["dockerd"] == pytest.approx(5)
