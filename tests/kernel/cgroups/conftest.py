"""Control groups that this host offers: the tests run unchanged on version 1, version 2 and hybrid hosts."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from minidock.kernel import cgroups
from minidock.kernel.cgroup_v1 import CgroupV1
from minidock.kernel.cgroup_v2 import CgroupV2

HIERARCHY = cgroups.hierarchy()
PARENT = f"/minidock-test-{os.getpid()}"  # each pytest worker has its own
UNIFIED_ROOT = HIERARCHY.mounts.get(cgroups.UNIFIED)


def offered() -> list[str]:
    """Name the kinds of cgroup that can be made here; "unified", on hybrid hosts, has few controllers."""
    kinds = [f"version {HIERARCHY.version}"]
    if HIERARCHY.version == 1 and UNIFIED_ROOT:
        kinds.append("unified")
    return kinds


def named(kind: str, path: str) -> cgroups.Cgroup:
    """Name a cgroup of one of the offered kinds."""
    if kind == "unified":
        assert UNIFIED_ROOT is not None
        return CgroupV2(path, UNIFIED_ROOT)
    return HIERARCHY.at(path)


@contextmanager
def new_cgroup(kind: str) -> Iterator[cgroups.Cgroup]:
    """Create a cgroup below the worker's parent; afterwards neither is left."""
    cgroup = named(kind, f"{PARENT}/{os.urandom(6).hex()}")
    cgroup.create()
    try:
        yield cgroup
    finally:
        cgroup.kill()
        cgroup.delete()
        named(kind, PARENT).delete()


def skip_unless_limited(cgroup: cgroups.Cgroup, *fields: str) -> None:
    """Skip the test where the kernel cannot limit one of these fields, and say which."""
    if missing := set(fields) - cgroup.supported():
        pytest.skip(f"this host's cgroups {cgroup.paths()} cannot limit {', '.join(sorted(missing))}")


@contextmanager
def cgroup_member(cgroup: cgroups.Cgroup, body: Callable[[], None]) -> Iterator[int]:
    """Run `body` in a child that has joined the cgroup; yields its pid. Killed and reaped at the end."""
    descriptors = cgroup.join_descriptors()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            cgroups.join_by(descriptors)
            os.write(writing, b"joined")
            body()
        finally:
            os._exit(0)
    os.close(writing)
    for descriptor in descriptors:
        os.close(descriptor)
    try:
        assert os.read(reading, 16) == b"joined"
        yield pid
    finally:
        os.close(reading)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def sleep_long() -> None:
    """Do nothing until killed."""
    while True:
        time.sleep(60)


def wait_until(condition: Callable[[], bool], timeout: float = 20) -> bool:
    """Wait until `condition` holds, False after `timeout`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(params=offered())
def cgroup(request: pytest.FixtureRequest) -> Iterator[cgroups.Cgroup]:
    """A fresh cgroup of each kind that the host offers."""
    with new_cgroup(request.param) as made:
        yield made


@pytest.fixture
def limited() -> Iterator[cgroups.Cgroup]:
    """A fresh cgroup in the hierarchy that has the host's controllers."""
    with new_cgroup(offered()[0]) as made:
        yield made


def bare_kinds() -> list[str]:
    """Name the kinds of cgroup that can be made without a controller here."""
    return [*(["version 1"] if HIERARCHY.version == 1 else []), *(["version 2"] if UNIFIED_ROOT else [])]


@contextmanager
def new_bare_cgroup(kind: str) -> Iterator[cgroups.Cgroup]:
    """Create a cgroup that has no controller, whatever the host has; as on a kernel built without them."""
    if kind == "version 1":
        mounts = {name: root for name, root in HIERARCHY.mounts.items() if name == "freezer"}
        made: cgroups.Cgroup = CgroupV1(f"{PARENT}/{os.urandom(6).hex()}", mounts)
        made.create()
        try:
            yield made
        finally:
            made.delete()
            CgroupV1(PARENT, mounts).delete()
        return
    assert UNIFIED_ROOT is not None
    with new_cgroup(offered()[-1]) as above:  # which hands nothing down
        os.mkdir(f"{UNIFIED_ROOT}{above.path}/bare")
        yield CgroupV2(f"{above.path}/bare", UNIFIED_ROOT)


@pytest.fixture(params=bare_kinds())
def bare(request: pytest.FixtureRequest) -> Iterator[cgroups.Cgroup]:
    """A fresh cgroup without a controller, of each kind that there can be here."""
    with new_bare_cgroup(request.param) as made:
        yield made


@pytest.fixture
def bare_unified() -> Iterator[cgroups.Cgroup]:
    """A fresh cgroup in the version 2 tree, to which no controller is handed down."""
    if UNIFIED_ROOT is None:
        pytest.skip("this host has no version 2 hierarchy mounted")
    with new_bare_cgroup("version 2") as made:
        yield made


@pytest.fixture
def unified() -> Iterator[cgroups.Cgroup]:
    """A fresh cgroup in the version 2 tree, on a hybrid host too."""
    if UNIFIED_ROOT is None:
        pytest.skip("this host has no version 2 hierarchy mounted")
    with new_cgroup(offered()[-1]) as made:
        yield made


@pytest.fixture
def member() -> Any:
    """The context manager that runs a function in a child which has joined a cgroup."""
    return cgroup_member


@pytest.fixture
def require() -> Any:
    """The function that skips a test where some fields of Limits are not offered."""
    return skip_unless_limited


@pytest.fixture
def eventually() -> Any:
    """The function that waits for a condition."""
    return wait_until


@pytest.fixture
def parent() -> str:
    """The path below which this worker's cgroups are."""
    return PARENT
