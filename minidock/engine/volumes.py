"""Verbs of volumes: create, list, inspect, remove, prune; and who uses one, which is computed and never
counted.

A volume is in use while a container's record names it, whether the container runs or not. Source: Docker
Engine API v1.50, "Volumes"; the local driver's options as docs.docker.com has them under `docker volume
create`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from minidock.engine import mounts, times
from minidock.engine.events import has_label
from minidock.engine.views import VolumeList, VolumesPruned, VolumeUsage, VolumeView
from minidock.errors import Conflict, InvalidParameter, NotFound
from minidock.storage import trees
from minidock.storage.volumes import ANONYMOUS_LABEL, Volume, check_name

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

Filters = Mapping[str, Sequence[str]]
_LIST_FILTERS = frozenset({"dangling", "driver", "label", "label!", "name"})
_PRUNE_FILTERS = frozenset({"all", "label", "label!"})


def create(
    engine: Engine,
    name: str = "",
    driver: str = "",
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> VolumeView:
    """Make a volume, or return the one that has this name already; without a name it is anonymous."""
    if not name:
        name = secrets.token_hex(32)
        labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
    if driver not in mounts.LOCAL_DRIVERS:
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    check_name(name)
    mounts.check_driver_options(name, options or {})
    volume, is_new = engine.volumes.create(name, times.now_in_seconds(), labels, options)
    if is_new:
        _publish(engine, volume.name, "create")
    return view(engine, volume)


def listed(engine: Engine, filters: Filters | None = None) -> VolumeList:
    """Return `docker volume ls`; InvalidParameter for an unknown filter."""
    wanted = {name: values for name, values in (filters or {}).items() if values}
    _check_filters(wanted, _LIST_FILTERS)
    dangling = _truth("dangling", wanted["dangling"]) if "dangling" in wanted else None
    found = []
    for volume in engine.volumes.volumes():
        if dangling is not None and bool(users(engine, volume.name)) == dangling:
            continue
        if "driver" in wanted and "local" not in wanted["driver"]:
            continue
        if "name" in wanted and not any(value in volume.name for value in wanted["name"]):
            continue
        if _fits_labels(volume, wanted):
            found.append(view(engine, volume))
    return VolumeList(volumes=found, warnings=[])


def inspect(engine: Engine, name: str) -> VolumeView:
    """Return one volume; NotFound."""
    return view(engine, engine.volumes.volume(name))


def view(engine: Engine, volume: Volume, usage: bool = False) -> VolumeView:
    """Return a volume as the API shows it; `usage` takes a walk over its files."""
    found = VolumeView(
        created_at=volume.created,
        labels=volume.labels,
        mountpoint=engine.volumes.data(volume.name),
        name=volume.name,
        options=volume.options,
    )
    if usage:
        found.usage_data = VolumeUsage(size=size(engine, volume), ref_count=len(users(engine, volume.name)))
    return found


def remove(engine: Engine, name: str, force: bool = False) -> None:
    """Remove a volume with its content; Conflict while a container names it, NotFound unless `force`."""
    try:
        volume = engine.volumes.volume(name)
        with engine.volumes.lock:
            using = users(engine, name)
            if using or engine.volumes.held[name]:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(using)}]")
            engine.volumes.remove(volume.name)
    except NotFound:
        if not force:
            raise
        return
    _publish(engine, name, "destroy")


def remove_anonymous(engine: Engine, names: Sequence[str]) -> None:
    """Remove those of the volumes that nobody else uses: what `rm -v` and `--rm` take along."""
    for name in names:
        try:
            remove(engine, name, force=True)
        except Conflict:
            continue


def prune(engine: Engine, filters: Filters | None = None, everything: bool = False) -> VolumesPruned:
    """Remove the volumes that no container names: the anonymous ones, or with `everything` (or `all=true`)
    all.
    """
    wanted = {name: values for name, values in (filters or {}).items() if values}
    _check_filters(wanted, _PRUNE_FILTERS)
    if "all" in wanted:
        everything = _truth("all", wanted["all"])
    gone, freed = [], 0
    for volume in engine.volumes.volumes():
        if not everything and ANONYMOUS_LABEL not in (volume.labels or {}):
            continue
        if users(engine, volume.name) or not _fits_labels(volume, wanted):
            continue
        cost = size(engine, volume)
        try:
            remove(engine, volume.name)
        except (Conflict, NotFound):
            continue
        gone.append(volume.name)
        freed += cost
    engine.events.publish("volume", "prune", "", {"reclaimed": str(freed)})
    return VolumesPruned(volumes_deleted=gone, space_reclaimed=freed)


def users(engine: Engine, name: str) -> list[str]:
    """Return the ids of the containers that name the volume."""
    return [
        container.id
        for container in list(engine.containers.values())
        if any(point.name == name for point in container.record.mounts)
    ]


def size(engine: Engine, volume: Volume) -> int:
    """Return the bytes of the volume's files; 0 for one whose content is another file system."""
    if volume.needs_mount:
        return 0
    return trees.tree_size(engine.volumes.data(volume.name))


def _publish(engine: Engine, name: str, action: str) -> None:
    engine.events.publish("volume", action, name, {"driver": "local"})


def _fits_labels(volume: Volume, wanted: Filters) -> bool:
    labels = volume.labels or {}
    return all(has_label(labels, value) for value in wanted.get("label", ())) and not any(
        has_label(labels, value) for value in wanted.get("label!", ())
    )


def _check_filters(wanted: Filters, known: frozenset[str]) -> None:
    for name in wanted:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")


def _truth(name: str, values: Sequence[str]) -> bool:
    if len(set(values)) != 1 or values[0].lower() not in ("1", "true", "0", "false"):
        raise InvalidParameter(f"invalid filter '{name}={list(values)}'")
    return values[0].lower() in ("1", "true")
