"""Namespaces of another container: `--pid container:X` and `--ipc container:X`.

A namespace is handed to the runtime as an open descriptor, so that it stays the one that was meant even if
the partner ends. Shared memory is more than the namespace: POSIX shared memory lives in the tmpfs on
/dev/shm, a mount of the partner's own mount namespace, of which a detached copy is made from inside.
setns(2), shm_overview(7).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from minidock.engine.containers import Container, find
from minidock.engine.mounts_room import Room
from minidock.errors import Conflict, InvalidParameter, NotFound
from minidock.kernel import mounts, namespaces

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

PREFIX = "container:"
SHARED_MEMORY = "/dev/shm"
_CLONE = mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC


def join(engine: Engine, container: Container, undo: ExitStack) -> tuple[dict[str, int], dict[str, int]]:
    """Return the namespaces to join by OCI name, and the mounts to show by destination; `undo` closes them.

    Conflict or InvalidParameter in Docker's words when the partner is not there, or does not share.
    """
    host = container.record.host_config
    joined: dict[str, int] = {}
    shown: dict[str, int] = {}
    if host.pid_mode.startswith(PREFIX):
        other = _partner(engine, container, host.pid_mode, "PID")
        joined["pid"] = _opened(other, "pid", undo)
    if host.ipc_mode.startswith(PREFIX):
        other = _partner(engine, container, host.ipc_mode, "IPC")
        if other.record.host_config.ipc_mode not in ("shareable", "host"):
            raise Conflict(
                f"cannot join IPC of container {other.id}: "
                "non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )
        joined["ipc"] = _opened(other, "ipc", undo)
        shown[SHARED_MEMORY] = _shared_memory(other)
        undo.callback(os.close, shown[SHARED_MEMORY])
    return joined, shown


def _partner(engine: Engine, container: Container, mode: str, kind: str) -> Container:
    reference = mode.removeprefix(PREFIX)
    try:
        other = find(engine, reference)
    except NotFound as error:
        raise InvalidParameter(str(error)) from error
    if other is container or not other.is_running:
        raise Conflict(f"cannot join {kind} of a non running container: {other.id}")
    return other


def _opened(other: Container, name: str, undo: ExitStack) -> int:
    try:
        descriptor = os.open(f"/proc/{other.state.pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict(f"container {other.id} is not running") from error
    undo.callback(os.close, descriptor)
    return descriptor


def _shared_memory(other: Container) -> int:
    """Return a detached copy of the partner's /dev/shm.

    A mount can only be copied from inside its mount namespace: a thread with a file system context of its own
    enters it. The path is the engine's own mount point, and cannot be a link: it lies on the tmpfs that /dev
    is.
    """
    with Room() as room:
        namespace = os.open(f"/proc/{other.state.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            room.call(lambda: namespaces.setns(namespace, namespaces.CLONE_NEWNS))
            return room.call(lambda: mounts.open_tree(SHARED_MEMORY, _CLONE))
        finally:
            os.close(namespace)
