"""What a container's mounts show, as descriptors of detached mounts, opened at its start.

A bind is cloned here, in the host's mount namespace: a clone made inside the container's would only be a
slave of the host's mount, and `rshared` could not reach the host. A volume whose options name another file
system is mounted once, in the engine's own room, while containers that use it run; all of them show the
same mount. A part of a volume is resolved below the volume, whatever links its users put there.
open_tree(2), mount_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import posixpath
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from minidock.engine.containers import Container
from minidock.engine.model import MountPoint
from minidock.engine.mounts_room import Room
from minidock.errors import Conflict, InvalidParameter, MinidockError
from minidock.kernel import mounts, openat2
from minidock.kernel.mounts import AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE
from minidock.kernel.namespaces import CLONE_NEWNS, setns
from minidock.runtime import filesystems

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.volumes import Volume

_CLONE = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC


class MountedVolumes:
    """The volumes with a file system of their own that are mounted now, and who shows each."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._room: Room | None = None
        self._users: dict[str, set[str]] = {}

    def clone(self, engine: Engine, volume: Volume, user: str, subpath: str = "") -> int:
        """Return a clone of the volume's mount, or of a part of it; the mount stays until `user` releases
        it.
        """
        with self.lock:
            self._room = self._room or Room()
            path = engine.volumes.data(volume.name)
            if volume.name not in self._users:
                tree = _in_a_container(engine, volume)
                tree = _mount(volume, path) if tree is None else tree
                try:
                    self._room.call(partial(mounts.move_mount, tree, path))
                finally:
                    os.close(tree)
                self._users[volume.name] = set()
            self._users[volume.name].add(user)
            return self._room.call(lambda: _clone_below(path, volume.name, subpath))

    def release(self, engine: Engine, user: str) -> None:
        """Unmount what only `user` has shown."""
        with self.lock:
            for name, users in list(self._users.items()):
                users.discard(user)
                if not users and self._room is not None:
                    del self._users[name]
                    path = os.path.join(engine.volumes.root, name, "_data")
                    self._room.call(partial(mounts.umount, path, mounts.MNT_DETACH))

    def close(self) -> None:
        """Let go of all mounts; containers keep theirs."""
        with self.lock:
            if self._room is not None:
                self._room.close()
                self._room = None
            self._users.clear()


def open_all(engine: Engine, container: Container, undo: ExitStack) -> dict[str, int]:
    """Return the detached mount for each bind and volume of the container by destination; `undo` closes them.

    MinidockError in Docker's words when one cannot be had.
    """
    found: dict[str, int] = {}
    for point in container.record.mounts:
        if point.type not in ("bind", "volume"):
            continue
        tree = _bind(point) if point.type == "bind" else _volume(engine, container.id, point)
        undo.callback(os.close, tree)
        found[point.destination] = tree
    return found


def release(engine: Engine, container: Container) -> None:
    """Let go of the volumes that the container showed; call it when it does not run any more."""
    engine.mounted_volumes.release(engine, container.id)
    for point in container.record.mounts:
        if point.type == "volume":
            _publish(engine, container, point, "unmount")


def publish_mounts(engine: Engine, container: Container) -> None:
    """Tell that the container's volumes are in use now."""
    for point in container.record.mounts:
        if point.type == "volume":
            _publish(engine, container, point, "mount")


@contextmanager
def volume_directory(engine: Engine, user: str, name: str) -> Iterator[int]:
    """Open the root of a volume, mounted if need be, as an ordinary directory descriptor."""
    volume = engine.volumes.volume(name)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if not volume.needs_mount:
        directory = os.open(engine.volumes.data(name), flags)
    else:
        tree = engine.mounted_volumes.clone(engine, volume, f"{user}-directory")
        try:
            directory = os.open(".", flags, dir_fd=tree)
        finally:
            os.close(tree)
    try:
        yield directory
    finally:
        os.close(directory)
        engine.mounted_volumes.release(engine, f"{user}-directory")


def _publish(engine: Engine, container: Container, point: MountPoint, action: str) -> None:
    attributes = {"container": container.id, "driver": "local"}
    if action == "mount":
        attributes |= {"destination": point.destination, "propagation": point.propagation,
                       "read/write": str(point.rw).lower()}  # fmt: skip
    engine.events.publish("volume", action, point.name, attributes)


def _bind(point: MountPoint) -> int:
    if point.makes_source and not os.path.lexists(point.source):
        os.makedirs(point.source, mode=0o755, exist_ok=True)
    _check_propagation(point)
    try:
        tree = mounts.open_tree(point.source, _CLONE | (AT_RECURSIVE if point.recursive else 0))
    except FileNotFoundError:
        raise InvalidParameter(
            f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
        ) from None
    if point.propagation not in ("shared", "rshared"):
        _cut_off(tree)
    return tree


def _check_propagation(point: MountPoint) -> None:
    """Refuse a propagation that the source's mount cannot give: the user would wait for mounts in vain."""
    wanted = point.propagation.removeprefix("r") if point.propagation != "rprivate" else ""
    if wanted not in ("shared", "slave"):
        return
    source = os.path.realpath(point.source)
    under = [
        info for info in mounts.mountinfo() if posixpath.commonpath([info.target, source]) == info.target
    ]
    mount = max(under, key=lambda info: len(info.target))
    if mount.shared is None and (wanted == "shared" or mount.master is None):
        kind = "shared" if wanted == "shared" else "shared or slave"
        raise MinidockError(f"path {point.source} is mounted on {mount.target} but it is not a {kind} mount")


def _volume(engine: Engine, user: str, point: MountPoint) -> int:
    volume = engine.volumes.volume(point.name)
    if volume.needs_mount:
        return engine.mounted_volumes.clone(engine, volume, user, point.subpath)
    tree = _clone_below(engine.volumes.data(point.name), point.name, point.subpath)
    _cut_off(tree)
    return tree


def _cut_off(tree: int) -> None:
    """Let the clone's mounts hear from the host's, never the other way: a clone of a shared mount is its
    peer.
    """
    mounts.mount_setattr(tree, "", propagation=mounts.MS_SLAVE, recursive=True)


def _clone_below(directory: str, name: str, subpath: str) -> int:
    """Clone the mounts at `subpath` of a volume's directory; links may not lead out of the volume."""
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not subpath:
            return mounts.open_tree("", _CLONE | AT_EMPTY_PATH | AT_RECURSIVE, root)
        resolve = openat2.RESOLVE_BENEATH | openat2.RESOLVE_NO_MAGICLINKS
        part = openat2.openat2(root, subpath, os.O_PATH, resolve=resolve)
        try:
            return mounts.open_tree("", _CLONE | AT_EMPTY_PATH | AT_RECURSIVE, part)
        finally:
            os.close(part)
    except OSError as error:
        reason = "it leads out of it" if error.errno == errno.EXDEV else os.strerror(error.errno or 0).lower()
        raise MinidockError(f"cannot access path {subpath or '/'} of volume {name}: {reason}") from error
    finally:
        os.close(root)


def _mount(volume: Volume, path: str) -> int:
    """Make the file system that a volume's options describe; a detached mount."""
    options = volume.options or {}
    kind, device, data = options.get("type", ""), options.get("device", ""), options.get("o", "")
    parsed = filesystems.Options(tuple(option for option in data.split(",") if option))
    try:
        if {"bind", "rbind"} & set(data.split(",")):
            tree = mounts.open_tree(device, _CLONE | (AT_RECURSIVE if parsed.recursive else 0))
        else:
            given = [(key, _resolved(key, value)) for key, value in parsed.filesystem]
            tree = mounts.detached(kind, [("source", device), *given])
        mounts.mount_setattr(tree, "", set=parsed.set, clear=parsed.clear)
        return tree
    except OSError as error:
        notes = "".join(f": {note}" for note in getattr(error, "__notes__", ()) if note.startswith("error"))
        raise MinidockError(
            f"error while mounting volume '{path}': failed to mount local volume: "
            f"mount {device}:{path}, data: {data}: {(error.strerror or str(error)).lower()}{notes}"
        ) from error


def _resolved(key: str, value: str | None) -> str | None:
    """Return the address of `addr=NAME`: the kernel's NFS and CIFS take numbers only."""
    if key != "addr" or not value:
        return value
    try:
        found = socket.getaddrinfo(value, None, type=socket.SOCK_STREAM)
    except OSError:
        return value  # the kernel's own error will name it
    return str(found[0][4][0])


def _in_a_container(engine: Engine, volume: Volume) -> int | None:
    """Return a clone of the volume's mount out of a running container that shows it whole, if there is one.

    After a restart of the daemon only the containers still hold it, and a second tmpfs would be another
    volume.
    """
    for container in list(engine.containers.values()):
        for point in container.record.mounts:
            if container.shim is not None and point.name == volume.name and not point.subpath:
                tree = clone_inside(container, point.destination)
                mounts.mount_setattr(tree, "", clear=mounts.MOUNT_ATTR_RDONLY)
                return tree
    return None


def clone_inside(container: Container, path: str) -> int:
    """Return a clone of the one mount at `path` in a running container, without the mounts below it.

    Conflict when it does not run any more.
    """
    if container.shim is None:
        raise Conflict(f"container {container.id} is not running")
    root = container.shim.root_descriptor()
    try:
        with Room() as room:
            return room.call(lambda: _clone_inside(container.state.pid, root, path))
    except OSError as error:
        raise Conflict(f"container {container.id} is not running: {error}") from error
    finally:
        os.close(root)


def _clone_inside(pid: int, root: int, path: str) -> int:
    """Clone a mount of another mount namespace: open_tree(2) takes only those of the caller's own."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)
    place = openat2.open_in_root(root, path, os.O_PATH)
    try:
        return mounts.open_tree("", _CLONE | AT_EMPTY_PATH, place)
    finally:
        os.close(place)
