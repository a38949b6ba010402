"""How processes are drawn, however they descend from each other."""

import os

from minidock.explain import seen


def process(pid: int, parent: int) -> seen.Process:
    return seen.Process(pid, parent, pid, f"program{pid}", 1, False)


def test_children_stand_below_their_parents() -> None:
    found = {pid: process(pid, parent) for pid, parent in ((10, 1), (11, 10), (12, 10), (13, 11))}
    assert seen._branches([found[10]], found, "") == [
        "└─ pid 10: program10",
        "   ├─ pid 11: program11",
        "   │  └─ pid 13: program13",
        "   └─ pid 12: program12",
    ]


def test_a_long_line_of_descent_is_drawn() -> None:
    found = {pid: process(pid, pid - 1) for pid in range(2, 3000)}
    lines = seen._branches([found[2]], found, "")
    assert len(lines) == len(found)
    assert max(map(len, lines)) == seen.WIDTH


def test_this_process_is_read_as_it_is() -> None:
    one = seen.process(os.getpid())
    assert (one.pid, one.parent, one.is_sealed) == (os.getpid(), os.getppid(), False)
