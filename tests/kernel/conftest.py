"""Children in which a kernel test may do anything: what they break ends with them.

A body runs in a forked process and its result (or its traceback) comes back through a pipe; the test itself
stays in pytest's process, whose namespaces are never changed.
"""

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from minidock.kernel import mounts, namespaces, process

InChild = Callable[..., Any]


def run_in_child(body: Callable[[], Any], flags: int = 0) -> Any:
    """Return what `body()` returns in a child made by clone(flags); its traceback in an AssertionError."""
    reading, writing = os.pipe()
    pid = process.clone(flags)
    if pid == 0:
        _report(body, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
    assert answer, f"the child ended without an answer, status {status:#x}"
    succeeded, value = pickle.loads(answer)
    assert succeeded, f"in the child:\n{value}"
    return value


def _report(body: Callable[[], Any], writing: int) -> None:
    try:
        answer = (True, body())
    except BaseException:
        answer = (False, traceback.format_exc())
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


@pytest.fixture
def in_child() -> InChild:
    """Return the function that runs a body in a child."""
    return run_in_child


@pytest.fixture(params=["private", "shared"])
def in_mount_sandbox(request: pytest.FixtureRequest) -> InChild:
    """Return the function that runs a body in its own mount namespace, whose tree is rprivate or rshared.

    The second is what a host with systemd looks like: whoever forgets MS_PRIVATE there leaks mounts.
    """
    propagation = mounts.MS_SHARED if request.param == "shared" else mounts.MS_PRIVATE

    def run(body: Callable[[], Any]) -> Any:
        def prepared() -> Any:
            mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
            mounts.mount(None, "/", None, mounts.MS_REC | propagation)
            return body()

        return run_in_child(prepared, namespaces.CLONE_NEWNS)

    return run
