"""minidock.runtime.logs: what was written is what is read, across rotations, damage and full disks."""

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.kernel import mounts, namespaces
from minidock.runtime.logs import LINE_LIMIT, Reader, Record, Writer, timestamp


def read_all(path: Path) -> list[Record]:
    reader = Reader(str(path))
    try:
        return list(reader.read_new())
    finally:
        reader.close()


def texts(records: list[Record], stream: str = "stdout") -> str:
    return "".join(record.text for record in records if record.stream == stream)


chunks = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.one_of(
            st.text(max_size=50).map(str.encode),
            st.sampled_from([b"\n", b"\r\n", b"a\\n", b'"', "\x00\x85\n".encode(), "\u2028\n".encode()]),
            st.tuples(st.sampled_from("xé☃𝄞"), st.integers(1, 40_000)).map(lambda t: (t[0] * t[1]).encode()),
        ),
    ),
    max_size=12,
)


@given(chunks, st.sampled_from([0, 300, 5000]))
def test_the_reader_returns_what_was_written(tmp_path_factory, written: list, max_size: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = Writer(str(path), max_size, 10_000)
    for stream, data in written:
        # A chunk border may fall within a character: the pipe knows no characters.
        middle = len(data) // 2
        writer.write(stream, data[:middle]) if middle else None
        writer.write(stream, data[middle:]) if data else None
    writer.close()
    records = read_all(path)
    for stream in ("stdout", "stderr"):
        assert texts(records, stream) == b"".join(data for name, data in written if name == stream).decode()
    assert all(len(record.text.encode()) <= LINE_LIMIT for record in records)
    assert all("\n" not in record.text[:-1] for record in records)


def of_last_lines(records: list[Record], count: int) -> list[Record]:
    """Say in another way what the last lines are: a record that follows a newline begins one."""
    begins = [index for index in range(len(records)) if not index or records[index - 1].text.endswith("\n")]
    return records[begins[-count] :] if 0 < count <= len(begins) else records if count else []


@given(chunks, st.sampled_from([0, 300, 5000]), st.integers(0, 6), st.booleans())
def test_the_last_lines_are_those_at_the_end(
    tmp_path_factory, written: list, max_size: int, count: int, both: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = Writer(str(path), max_size, 10_000)
    for stream, data in written:
        writer.write(stream, data)
    writer.flush()
    wanted = [record for record in read_all(path) if both or record.stream == "stdout"]
    reader = Reader(str(path))
    found = reader.read_last(count, lambda record: both or record.stream == "stdout")
    assert found == of_last_lines(wanted, count)
    writer.write("stdout", b"later\n")
    assert [record.text for record in reader.read_new()] == ["later\n"]
    reader.close()
    writer.close()


@pytest.mark.parametrize("max_size", [0, 1_000_000])
def test_a_short_tail_of_a_long_log_reads_its_end_only(tmp_path: Path, max_size: int, monkeypatch) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path), max_size, 100)
    for number in range(200):
        writer.write("stdout", b"%d " % number + b"x" * 100 + b"\n" * 1000)
    writer.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 10_000_000
    amounts: list[int] = []
    read, pread = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda fd, size: _counted(amounts, read(fd, size)))
    monkeypatch.setattr(os, "pread", lambda fd, size, at: _counted(amounts, pread(fd, size, at)))
    reader = Reader(str(path))
    assert len(reader.read_last(5, lambda _: True)) == 5
    reader.close()
    assert sum(amounts) < 300_000


def _counted(amounts: list[int], data: bytes) -> bytes:
    amounts.append(len(data))
    return data


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = b'{"log":"two\\n","stream":"stdout","time":"t"}\n'
    path.write_bytes(b'{"log":"one\\n","stream":"stdout","time":"t"}\n' + line[:20])
    reader = Reader(str(path))
    assert [record.text for record in reader.read_last(9, lambda _: True)] == ["one\n"]
    with open(path, "ab") as file:
        file.write(line[20:])
    assert [record.text for record in reader.read_new()] == ["two\n"]
    reader.close()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_text_are_replaced_and_never_raise(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = Writer(str(path), 0, 1)
    if data:
        writer.write("stdout", data)
    writer.close()
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    assert texts(read_all(path)) == "".join(line.decode("utf-8", "replace") for line in lines)


def test_a_line_on_disk_is_what_docker_writes(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 0, 1)
    writer.write("stderr", b"hello\n")
    writer.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    value = json.loads(line)
    assert list(value) == ["log", "stream", "time"]
    assert (value["log"], value["stream"]) == ("hello\n", "stderr")
    assert len(value["time"]) == len("2026-01-02T03:04:05.123456789Z")


def test_timestamps_always_have_nine_digits() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000000Z"
    assert timestamp(1_000_000_001) == "1970-01-01T00:00:01.000000001Z"


def test_a_line_without_its_end_is_logged_at_the_end(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 0, 1)
    writer.write("stdout", b"one\ntw")
    assert texts(read_all(tmp_path / "log")) == "one\n"
    writer.write("stdout", b"o")
    writer.close()
    assert [record.text for record in read_all(tmp_path / "log")] == ["one\n", "two"]


def test_a_progress_bar_without_newlines_is_logged_in_pieces_as_it_comes(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 0, 1)
    for _ in range(40):
        writer.write("stdout", b"\r" + b"#" * 999)
    assert len(texts(read_all(tmp_path / "log"))) == 2 * LINE_LIMIT
    writer.close()
    assert len(texts(read_all(tmp_path / "log"))) == 40_000


def test_rotation_keeps_the_newest_files_and_no_more(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 1000, 3)
    for number in range(200):
        writer.write("stdout", f"line {number}\n".encode())
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    numbers = [int(record.text.split()[1]) for record in read_all(tmp_path / "log")]
    assert numbers == list(range(numbers[0], 200))
    assert 10 < len(numbers) < 60


def test_with_one_file_rotation_starts_it_anew(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 500, 1)
    for number in range(100):
        writer.write("stdout", f"line {number}\n".encode())
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_burst_in_one_write_is_rotated_too(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"), 1000, 100)
    writer.write("stdout", b"".join(b"line %d\n" % number for number in range(500)))
    writer.close()
    assert len(list(tmp_path.iterdir())) > 10
    assert len(read_all(tmp_path / "log")) == 500


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer, reader = Writer(str(tmp_path / "log"), 0, 1), Reader(str(tmp_path / "log"))
    for number in range(5):
        writer.write("stdout", b"%d\n" % number)
        assert [record.text for record in reader.read_new()] == [f"{number}\n"]
    assert list(reader.read_new()) == []
    reader.close()
    writer.close()


def test_a_reading_ends_however_fast_the_log_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path), 1000, 3)
    writer.write("stdout", b"line\n" * 20)
    reader = Reader(str(path))
    for _ in range(3):
        found = 0
        for _record in reader.read_new():
            found += 1
            writer.write("stdout", b"more\n")
            assert found < 100
        assert found > 0
    reader.close()
    writer.close()


def test_a_reader_may_come_before_the_log(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path / "log"))
    assert list(reader.read_new()) == []
    writer = Writer(str(tmp_path / "log"), 0, 1)
    writer.write("stdout", b"now\n")
    assert texts(list(reader.read_new())) == "now\n"
    reader.close()
    writer.close()


@pytest.mark.parametrize("start", ["before", "during"])
def test_a_follower_misses_nothing_while_the_log_rotates(tmp_path: Path, start: str) -> None:
    """Rotation at every few lines, as fast as it goes, with enough files that none is dropped."""
    count = 800
    writer = Writer(str(tmp_path / "log"), 400, 250)
    half, done = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(count):
            writer.write("stdout", b"%d\n" % number)
            if number == 300:
                half.set()
        writer.close()
        done.set()

    thread = threading.Thread(target=write)
    if start == "during":
        thread.start()
        half.wait(60)
    reader = Reader(str(tmp_path / "log"))
    if start == "before":
        thread.start()
    found: list[int] = []
    while not done.is_set():
        found += [int(record.text) for record in reader.read_new()]
    found += [int(record.text) for record in reader.read_new()]
    reader.close()
    thread.join()
    assert found == list(range(count))


def test_a_slow_follower_of_a_log_with_few_files_stays_in_order(tmp_path: Path) -> None:
    writer, reader = Writer(str(tmp_path / "log"), 400, 3), Reader(str(tmp_path / "log"))
    found: list[int] = []
    for number in range(400):
        writer.write("stdout", b"%d\n" % number)
        if number % 50 == 0:
            found += [int(record.text) for record in reader.read_new()]
    writer.close()
    found += [int(record.text) for record in reader.read_new()]
    reader.close()
    assert found == sorted(set(found))
    assert found[-1] == 399


def test_a_damaged_line_is_skipped_and_the_others_are_read(tmp_path: Path) -> None:
    good = '{"log":"good\\n","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}\n'
    bad = ['{"log":"cut', "null", "[]", '{"log":1}', "\x00\x00", "{" * 5000]
    (tmp_path / "log").write_text("".join(good + line + "\n" for line in bad) + good)
    assert texts(read_all(tmp_path / "log")) == "good\n" * 7


def test_a_writer_begins_a_new_line_after_one_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"log":"half a li')
    writer = Writer(str(tmp_path / "log"), 0, 1)
    writer.write("stdout", b"whole\n")
    writer.close()
    assert texts(read_all(tmp_path / "log")) == "whole\n"


def test_a_full_disk_loses_lines_and_the_next_ones_are_readable(tmp_path: Path, in_child) -> None:
    def body() -> str:
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
        mounts.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=64k")
        (tmp_path / "ballast").write_bytes(bytes(60_000))
        writer = Writer(str(tmp_path / "log"), 0, 1)
        writer.write("stdout", b"lost\n" * 5000)
        (tmp_path / "ballast").unlink()
        writer.write("stdout", b"kept\n")
        writer.close()
        return texts(read_all(tmp_path / "log"))

    assert in_child(body, namespaces.CLONE_NEWNS).endswith("kept\n")


def test_a_rotation_that_fails_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    writer = Writer(str(directory / "log"), 200, 3)
    writer.write("stdout", b"first\n")
    os.rename(directory, tmp_path / "moved")
    for number in range(20):
        writer.write("stdout", b"%d\n" % number)
    writer.close()
    assert len(read_all(tmp_path / "moved" / "log")) == 21
