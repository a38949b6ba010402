"""minidock.kernel.trace: what arrives at the other end of the descriptor."""

import fcntl
import json
import os
import time

import pytest

from minidock.kernel.trace import Trace


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass


def lines(reading: int) -> list[dict]:
    return [json.loads(line) for line in os.read(reading, 65536).decode().splitlines()]


def test_a_record_is_one_json_line_with_step_time_and_facts(pipe) -> None:
    reading, writing = pipe
    before = time.monotonic_ns()
    Trace(writing).record("mount proc", target="/proc", inode=7, text="two\nlines")
    data = os.read(reading, 65536)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    record = json.loads(data)
    assert before <= record.pop("time_ns") <= time.monotonic_ns()
    assert record == {"step": "mount proc", "target": "/proc", "inode": 7, "text": "two\nlines"}


def test_a_trace_without_a_descriptor_does_nothing() -> None:
    trace = Trace(None)
    trace.record("anything", fact=object())  # not even encoded
    with trace.step("a step", function="m:f") as facts:
        facts["made"] = 1


def test_a_step_is_recorded_when_it_ends_with_its_duration_and_what_it_made(pipe) -> None:
    reading, writing = pipe
    trace = Trace(writing)
    with trace.step("outer", function="m:outer", target="/"):
        with trace.step("inner", function="m:inner") as facts:
            facts["inode"] = 42
        inner = lines(reading)
    outer = lines(reading)
    assert [record["step"] for record in inner + outer] == ["inner", "outer"]
    assert inner[0]["inode"] == 42
    assert inner[0]["function"] == "m:inner"
    assert outer[0]["target"] == "/"
    assert 0 <= inner[0]["duration_ns"] <= outer[0]["duration_ns"]
    assert "error" not in inner[0]


def test_a_step_that_fails_is_recorded_with_its_error_and_still_raises(pipe) -> None:
    reading, writing = pipe
    with pytest.raises(FileNotFoundError), Trace(writing).step("open", function="m:f"):
        os.open("/no/such/file", os.O_RDONLY)
    (record,) = lines(reading)
    assert "/no/such/file" in record["error"]


def test_a_reader_that_leaves_ends_the_tracing_and_nothing_else(pipe) -> None:
    reading, writing = pipe
    trace = Trace(writing)
    os.close(reading)
    trace.record("unheard")
    assert trace.fd is None
    trace.record("unheard too")
    assert fcntl.fcntl(writing, fcntl.F_GETFD) is not None  # the caller's descriptor stays open


def test_a_descriptor_that_cannot_be_written_is_an_error(tmp_path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            Trace(descriptor).record("step")
    finally:
        os.close(descriptor)


def test_the_lines_of_several_processes_do_not_mix(pipe) -> None:
    reading, writing = pipe
    children = []
    for letter in "abcd":
        pid = os.fork()
        if pid == 0:
            trace = Trace(writing)
            for _ in range(50):
                trace.record(letter * 100)
            os._exit(0)
        children.append(pid)
    os.close(writing)
    with os.fdopen(os.dup(reading), "rb") as file:
        records = [json.loads(line) for line in file]
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    assert sorted(record["step"] for record in records) == sorted(letter * 100 for letter in "abcd" * 50)
