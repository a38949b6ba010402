"""logs: which records, and how many."""

import time

import pytest

from minidock.engine import times
from minidock.engine.logs import Selection, open_log
from minidock.engine.model import LogConfig
from minidock.errors import InvalidParameter, Unsupported
from tests.engine.conftest import Bench


@pytest.fixture(scope="module")
def written(bench: Bench) -> str:
    identifier = bench.start("sh", "-c", "echo one; sleep 0.3; echo two >&2; sleep 0.3; printf three")
    bench.wait(identifier)
    return identifier


def texts(bench: Bench, identifier: str, **members: object) -> list[str]:
    with open_log(bench.engine, identifier, Selection(**members)) as log:  # type: ignore[arg-type]
        return [record.text for record in log.read()]


def test_streams_are_chosen(bench: Bench, written: str) -> None:
    assert texts(bench, written) == ["one\n", "two\n", "three"]
    assert texts(bench, written, stderr=False) == ["one\n", "three"]
    assert texts(bench, written, stdout=False) == ["two\n"]
    with pytest.raises(InvalidParameter, match="you must choose at least one stream"):
        texts(bench, written, stdout=False, stderr=False)


@pytest.mark.parametrize(
    ("tail", "expected"), [(0, []), (1, ["three"]), (2, ["two\n", "three"]), (9, 3), (-1, 3)]
)
def test_tail_counts_lines_from_the_end(
    bench: Bench, written: str, tail: int, expected: list[str] | int
) -> None:
    found = texts(bench, written, tail=tail)
    assert (found if isinstance(expected, list) else len(found)) == expected


def test_since_and_until_are_borders(bench: Bench, written: str) -> None:
    with open_log(bench.engine, written, Selection()) as log:
        _, second, _ = (times.to_ns(record.time) for record in log.read())
    assert texts(bench, written, since_ns=second) == ["two\n", "three"]
    assert texts(bench, written, until_ns=second) == ["one\n", "two\n"]
    assert texts(bench, written, since_ns=second, until_ns=second) == ["two\n"]
    assert texts(bench, written, since_ns=second + 1, until_ns=second + 1) == []


def test_a_log_is_followed_while_it_grows(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done")
    found: list[str] = []
    with open_log(bench.engine, identifier, Selection(tail=0)) as log:
        while bench.engine.containers[identifier].is_running:
            found += [record.text for record in log.read()]
            time.sleep(0.01)
        found += [record.text for record in log.read()]
    assert found == ["1\n", "2\n", "3\n", "4\n", "5\n"][-len(found) :]
    assert len(found) >= 3


def test_a_rotated_log_keeps_its_newest_lines(bench: Bench) -> None:
    options = LogConfig(config={"max-size": "2k", "max-file": "2"})
    identifier = bench.start(
        "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done", log_config=options
    )
    bench.wait(identifier)
    numbers = [int(text) for text in texts(bench, identifier)]
    assert numbers == list(range(numbers[0], 500))
    assert numbers[0] > 0


def test_without_a_log_there_is_nothing_to_read(bench: Bench) -> None:
    identifier = bench.start("echo", "x", log_config=LogConfig(type="none"))
    bench.wait(identifier)
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        texts(bench, identifier)
