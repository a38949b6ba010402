"""A container's whole tree, with its volumes, as one root descriptor: what `cp` works on.

A running container has it already: its own root, where also its tmpfs are. For a stopped one it is put
together in a room that nobody else sees. All path work goes through the descriptor, where links and `..`
end inside (kernel/openat2), so a program in the container that swaps links while we work gets at its own
files only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from minidock.engine import mounts_sources, networking, starting, supervision
from minidock.engine.containers import Container
from minidock.engine.model import MountPoint
from minidock.engine.mounts_room import Room
from minidock.engine.spec_mounts import ETC_FILES, by_depth
from minidock.errors import Conflict, MinidockError
from minidock.kernel import mounts, openat2
from minidock.kernel.mounts import MOUNT_ATTR_RDONLY
from minidock.runtime import filesystems

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


@contextmanager
def opened(engine: Engine, container: Container, writable: bool = False) -> Iterator[int]:
    """Give an O_PATH descriptor of the root; while it is held, the container cannot be started.

    What is read-only for the container is read-only here. Without `writable` everything of a stopped one is.
    """
    if not writable and not container.is_running:
        _make_mount_points(engine, container)
    with container.tree.exclusive() if writable else container.tree.shared(), ExitStack() as undo:
        shim = container.shim
        if container.is_running and shim is not None:
            root = shim.root_descriptor()
        else:
            root = _put_together(engine, container, writable, undo)
        undo.callback(os.close, root)
        yield root


def _put_together(engine: Engine, container: Container, writable: bool, undo: ExitStack) -> int:
    """Attach layers and volumes of a stopped container in a room of their own, which `undo` closes."""
    if container.status in ("removing", "dead", "gone"):
        raise Conflict(f"container {container.id} is {container.status}")
    supervision.await_former_shim(engine, container)
    tree = _own_tree(engine, container, writable)
    undo.callback(os.close, tree)
    undo.callback(engine.mounted_volumes.release, engine, container.id)
    shown = mounts_sources.open_all(engine, container, undo)
    room = undo.enter_context(Room())
    try:
        return room.call(lambda: _attach(engine, container, tree, shown, writable))
    except OSError as error:
        raise MinidockError(f"cannot mount the tree of container {container.id}: {error}") from error


def _own_tree(engine: Engine, container: Container, writable: bool) -> int:
    own, work = (os.path.join(container.directory, "rw", part) for part in ("diff", "work"))
    if not writable:
        return engine.layers.overlay(container.record.layers, above=(own, engine.init_layer))
    tree = engine.layers.overlay(container.record.layers, own, work, above=(engine.init_layer,))
    _make_mount_points_in(tree, container.record.mounts)
    if container.record.host_config.readonly_rootfs:
        mounts.mount_setattr(tree, "", set=MOUNT_ATTR_RDONLY)
    return tree


def _attach(engine: Engine, container: Container, tree: int, shown: dict[str, int], writable: bool) -> int:
    """Attach everything below the engine's own root path; runs in the room."""
    mounts.move_mount(tree, engine.root_path)
    root = os.open(engine.root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for point in by_depth(container.record.mounts):
            if point.destination in shown:
                clone = shown[point.destination]
                readonly = not (writable and point.rw)
                mounts.mount_setattr(
                    clone,
                    "",
                    set=MOUNT_ATTR_RDONLY if readonly else 0,
                    propagation=mounts.MS_PRIVATE,
                    recursive=True,
                )
                _put(root, point.destination, clone)
        directory = networking.etc_directory(engine, container)
        for name in ETC_FILES:
            source = os.path.join(directory, name)
            if f"/etc/{name}" not in shown and os.path.exists(source):
                clone = mounts.open_tree(source)
                try:
                    _put(root, f"/etc/{name}", clone)
                finally:
                    os.close(clone)
    except BaseException:
        os.close(root)
        raise
    return root


def _put(root: int, destination: str, tree: int) -> None:
    place = openat2.open_in_root(root, destination, os.O_PATH)
    try:
        filesystems.attach(tree, place)
    finally:
        os.close(place)


def _make_mount_points(engine: Engine, container: Container) -> None:
    """Make what a container that never ran has no place for yet: nothing can be made once it is mounted to
    be read.
    """
    looking = engine.layers.overlay(
        container.record.layers, above=(os.path.join(container.directory, "rw", "diff"), engine.init_layer)
    )
    try:
        missing = [
            point for point in _outer(container.record.mounts) if not _exists(looking, point.destination)
        ]
    finally:
        os.close(looking)
    if not missing:
        return
    with container.tree.exclusive():
        if not container.is_running:
            supervision.await_former_shim(engine, container)
            tree = starting.open_root(engine, container)
            try:
                _make_mount_points_in(tree, missing)
            finally:
                os.close(tree)


def _make_mount_points_in(tree: int, points: Sequence[MountPoint]) -> None:
    for point in _outer(points):
        if point.type == "bind" and not os.path.isdir(point.source):
            os.close(openat2.make_file_in_root(tree, point.destination))
        else:
            os.close(openat2.make_directories_in_root(tree, point.destination))


def _outer(points: Sequence[MountPoint]) -> list[MountPoint]:
    """Return the binds and volumes whose mount point is not inside another one's mount."""
    binds = [point for point in points if point.type in ("bind", "volume")]
    return [
        point
        for point in binds
        if not any(point.destination.startswith(f"{other.destination}/") for other in binds)
    ]


def _exists(root: int, path: str) -> bool:
    try:
        os.close(openat2.open_in_root(root, path, os.O_PATH))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
