"""The engine's leaf among the cgroups, entered from outside its parent and, as below systemd, from within."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.own_cgroup import LEAF, OwnCgroup
from minidock.kernel import cgroups, process

HIERARCHY = cgroups.hierarchy()


@pytest.fixture
def parent() -> Iterator[cgroups.Cgroup]:
    """A cgroup that is gone afterwards."""
    cgroup = HIERARCHY.at(f"/minidock-test-own-{os.urandom(6).hex()}")
    cgroup.create()
    yield cgroup
    cgroup.kill()
    cgroup.delete()


def where(pid: str = "self") -> set[str]:
    """Return the paths of the process's cgroups."""
    return {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


@pytest.mark.parametrize("inside", [False, True])
def test_the_leaf_can_be_entered_from_its_own_parent_too(parent: cgroups.Cgroup, inside: bool) -> None:
    pid = process.clone(0)
    if pid == 0:
        code = 1
        try:
            before = where()
            if inside:
                parent.join()
                before = where()
            own = OwnCgroup.enter(HIERARCHY, parent.path)
            assert f"{parent.path}/{LEAF}" in where()
            sibling = HIERARCHY.at(f"{parent.path}/sibling")
            sibling.create()
            if {"memory"} <= sibling.supported():
                sibling.apply(cgroups.Limits(memory=1 << 26))
            sibling.delete()
            own.leave()
            # On version 2 a parent that hands controllers down takes nobody back: the leaf stays.
            assert where() == before or (inside and HIERARCHY.version == 2)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
