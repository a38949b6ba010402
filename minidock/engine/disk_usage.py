"""`docker system df`: what images, containers and volumes take on the disk.

A layer counts once in `layers_size`, however many images stand on it; an image's own size counts all of its
layers, and `shared_size` says how much of that it has in common. Docker Engine API v1.50, GET /system/df.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import image_views, listing, volumes
from minidock.engine.image_model import ImageSummary
from minidock.engine.views import ContainerSummary, VolumeView
from minidock.errors import InvalidParameter

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

KINDS = ("image", "container", "volume", "build-cache")


class DiskUsage(msgspec.Struct, kw_only=True):
    """Sizes in bytes; a list is None if its kind was not asked for. Builds have no cache but images."""

    layers_size: int
    images: list[ImageSummary] | None
    containers: list[ContainerSummary] | None
    volumes: list[VolumeView] | None
    build_cache: list[str] | None


def disk_usage(engine: Engine, kinds: Collection[str] = ()) -> DiskUsage:
    """Count; `kinds` are those wanted, none means all. InvalidParameter for an unknown kind."""
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidParameter(f"unknown object type: {kind}")
    wanted = kinds or KINDS
    found = None
    if "image" in wanted:
        found = image_views.summaries(engine, shared_size=True)
        users = Counter(container.record.image for container in list(engine.containers.values()))
        for image in found:
            image.containers = users[image.id]
    return DiskUsage(
        layers_size=sum(layer.size for layer in engine.layers.layers()) if "image" in wanted else 0,
        images=found,
        containers=listing.summaries(engine, show_all=True, size=True) if "container" in wanted else None,
        volumes=[volumes.view(engine, each, usage=True) for each in engine.volumes.volumes()]
        if "volume" in wanted
        else None,
        build_cache=[] if "build-cache" in wanted else None,
    )
