"""From what a container asks for to the mounts it will have: other containers' volumes, new volumes, first
content.

This is the part of `create` that makes things: the caller holds the volumes until the container can be
found, and if anything fails the new ones go again. The order is Docker's: `--volumes-from` first, `-v` and
`--mount` over it, then the image's VOLUMEs where nothing else is mounted.
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import mounts, mounts_sources, times
from minidock.engine.containers import find
from minidock.engine.model import ContainerRecord, HostConfig, MountPoint
from minidock.errors import InvalidParameter, MinidockError, NotFound
from minidock.kernel import openat2
from minidock.storage.archive import extract
from minidock.storage.packing import ChunkReader, Manner, pack
from minidock.storage.volumes import ANONYMOUS_LABEL

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.volumes import Holds


def settle(engine: Engine, record: ContainerRecord, holds: Holds) -> list[MountPoint]:
    """Return the mounts of a new container; volumes that are missing are made and filled.

    InvalidParameter when a bind's source or a container of `--volumes-from` is not there: never NotFound,
    which would mean the image.
    """
    host = record.host_config
    _check_bind_sources(host)
    found = _borrowed(engine, host, holds)
    for point in mounts.requested(host):
        found[point.destination] = point
    for path in record.config.volumes or ():
        point = mounts.declared(path)
        found.setdefault(point.destination, point)
    for point in found.values():
        if point.type == "volume":
            _find_volume(engine, record, point, holds)
    _fill(engine, record, [point for point in found.values() if point.type == "volume" and point.copies])
    return list(found.values())


def _check_bind_sources(host: HostConfig) -> None:
    """Refuse a `--mount type=bind` whose source does not exist; `-v` makes it at the start."""
    for mount in host.mounts or ():
        makes = mount.bind_options is not None and mount.bind_options.create_mountpoint
        if mount.type == "bind" and not makes and not os.path.exists(mount.source):
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )


def _borrowed(engine: Engine, host: HostConfig, holds: Holds) -> dict[str, MountPoint]:
    """Return copies of other containers' mounts by destination; read-only stays read-only."""
    found: dict[str, MountPoint] = {}
    for text in host.volumes_from or ():
        name, writable = mounts.volumes_from(text)
        try:
            lender = find(engine, name)
        except NotFound as error:
            raise InvalidParameter(str(error)) from error
        plain = {mounts.cleaned(target) for target in lender.record.host_config.tmpfs or ()}
        for point in lender.record.mounts:
            if point.destination not in plain:
                borrowed = msgspec.structs.replace(point, rw=point.rw and writable, copies=False, mode="")
                found[point.destination] = borrowed
    return found


def _find_volume(engine: Engine, record: ContainerRecord, point: MountPoint, holds: Holds) -> None:
    """Give a volume's mount point its volume, made if there is none."""
    is_new = not point.name
    point.name = point.name or secrets.token_hex(32)
    labels: dict[str, str] | None = {ANONYMOUS_LABEL: ""} if is_new else None
    options: dict[str, str] | None = None
    for mount in record.host_config.mounts or ():
        if (
            mount.type == "volume"
            and mounts.cleaned(mount.target) == point.destination
            and mount.volume_options
        ):
            wanted = mount.volume_options
            labels = {**(wanted.labels or {}), **(labels or {})}
            options = wanted.driver_config.options if wanted.driver_config else None
    mounts.check_driver_options(point.name, options or {})
    volume = holds.create(point.name, times.now_in_seconds(), labels, options)
    point.source = engine.volumes.data(volume.name)
    if point.name in holds.made and holds.names.count(point.name) == 1:
        engine.events.publish("volume", "create", volume.name, {"driver": "local"})


def _fill(engine: Engine, record: ContainerRecord, points: list[MountPoint]) -> None:
    """Copy what the image has at their destinations into those volumes that are empty."""
    if not points:
        return
    image = engine.layers.overlay(record.layers, above=(engine.init_layer,))
    try:
        for point in points:
            _copy_up(engine, record, image, point)
    finally:
        os.close(image)


def _copy_up(engine: Engine, record: ContainerRecord, image: int, point: MountPoint) -> None:
    try:
        source = openat2.open_in_root(image, point.destination, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(source).st_mode):
            raise MinidockError(f"cannot mount volume over existing file, file exists {point.destination}")
        with mounts_sources.volume_directory(engine, record.id, point.name) as target:
            if not os.listdir(target):
                extract(ChunkReader(pack(source, ".", "./", Manner(exact_times=True))), target)
    finally:
        os.close(source)
