"""Fair measuring on a noisy machine: contestants take turns, only medians and ratios are compared."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.engines import Failed

Action = Callable[[], object]


@dataclass(frozen=True)
class Contestant:
    """What one engine does in one row: only `act` is timed, `before` and `after` prepare and clear."""

    act: Action
    before: Action = lambda: None
    after: Action = lambda: None


@dataclass
class Result:
    """The measurements of one row: samples by contestant, and why a contestant is missing."""

    title: str
    unit: str
    target: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.samples[name])

    def ratio(self, name: str, subject: str = "minidock") -> float | None:
        """Return how many times less than `name` the subject needs; None when either is missing."""
        if subject not in self.samples or name not in self.samples or not self.median(subject):
            return None
        return self.median(name) / self.median(subject)


def take_turns(
    result: Result, contestants: Mapping[str, Contestant], turns: int, warm_up: bool = True
) -> None:
    """Time every contestant `turns` times, in turn; the warm-up is not counted."""
    playing = dict(contestants)
    for turn in range(turns + (1 if warm_up else 0)):
        for name, contestant in list(playing.items()):
            try:
                seconds = _time(contestant)
            except Failed as error:
                result.skipped[name] = str(error)
                result.samples.pop(name, None)
                del playing[name]
                continue
            if turn or not warm_up:
                result.samples.setdefault(name, []).append(seconds)


def _time(contestant: Contestant) -> float:
    contestant.before()
    started = time.perf_counter()
    try:
        contestant.act()
        return time.perf_counter() - started
    finally:
        contestant.after()
