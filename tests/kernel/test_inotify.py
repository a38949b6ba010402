"""A watch on a directory becomes readable when one of its files changes."""

import os
import select
from pathlib import Path

import pytest

from minidock.kernel.inotify import Watch


def is_readable(watch: Watch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_a_write_wakes_and_clear_puts_to_sleep_again(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before")
    watch = Watch(str(tmp_path))
    assert not is_readable(watch)
    with open(file, "a", encoding="ascii") as appended:
        appended.write("more")
    assert is_readable(watch)
    watch.clear()
    assert not is_readable(watch)
    os.rename(file, tmp_path / "log.1")
    assert is_readable(watch)
    watch.close()
    watch.close()


def test_a_file_that_is_only_read_wakes_nobody(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("text")
    watch = Watch(str(tmp_path))
    (tmp_path / "log").read_text()
    assert not is_readable(watch)
    watch.close()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError, match="gone"):
        Watch(str(tmp_path / "gone"))
    assert len(os.listdir("/proc/self/fd")) == descriptors
