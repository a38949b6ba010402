"""Hard links in a tar: a million of them, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.storage.firstnames import FirstNames


def status(device: int, inode: int) -> os.stat_result:
    return os.stat_result((0o100644, inode, device, 2, 0, 0, 0, 0, 0, 0))


def test_a_file_is_known_by_the_name_it_came_under_first() -> None:
    names = FirstNames()
    try:
        great = 2**64 - 1  # overlayfs sets the topmost bits of an inode number
        assert names.first(status(1, great), "a") == "a"
        assert names.first(status(1, great), "b") == "a"
        assert names.first(status(2, great), "c") == "c"
        assert names.first(status(1, 7), "not utf-8: \udcff") == "not utf-8: \udcff"
        assert names.first(status(1, 7), "d") == "not utf-8: \udcff"
    finally:
        names.close()


MANY = """
import os, sys
from minidock.storage.firstnames import FirstNames

def status(number):
    return os.stat_result((0o100644, number, 1, 2, 0, 0, 0, 0, 0, 0))

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def is_open_there(descriptor):
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return False
    return path.startswith(os.environ["TMPDIR"]) and path.endswith("(deleted)")

os.environ["TMPDIR"] = sys.argv[1]
names, before = FirstNames(), resident()
for number in range(int(sys.argv[2])):
    assert names.first(status(number), f"{number}" + "x" * 500) == f"{number}" + "x" * 500
assert names.first(status(3), "again") == "3" + "x" * 500
print(any(map(is_open_there, os.listdir("/proc/self/fd"))), resident() - before < 16 << 20)
names.close()
print(any(map(is_open_there, os.listdir("/proc/self/fd"))))
"""


@pytest.mark.soak(500)
def test_very_many_names_go_to_the_disk(tmp_path: Path, rounds: int) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path), str(1000 * rounds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "True", "False"]
    assert os.listdir(tmp_path) == []
