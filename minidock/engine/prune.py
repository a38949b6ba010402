"""Prune: remove what nobody uses, images and containers; volumes and networks are pruned where they live.

Each object goes through the ordinary removal with its rules: what has meanwhile come into use is not an
error but stays. Docker Engine API v1.50, POST /images/prune and /containers/prune.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.engine import image_filters, images, inspection, lifecycle, times
from minidock.engine.events import has_label
from minidock.engine.image_filters import Filters
from minidock.engine.image_model import Deletion
from minidock.errors import Conflict, InvalidParameter, NotFound

if TYPE_CHECKING:
    from minidock.engine.containers import Container
    from minidock.engine.engine import Engine

CONTAINER_FILTERS = frozenset({"label", "label!", "until"})


class ImagesPruned(msgspec.Struct, kw_only=True):
    """The answer to an image prune; the size is that of the layers that went."""

    images_deleted: list[Deletion] | None
    space_reclaimed: int


class ContainersPruned(msgspec.Struct, kw_only=True):
    """The answer to a container prune; the size is that of the read-write layers."""

    containers_deleted: list[str] | None
    space_reclaimed: int


def prune_images(engine: Engine, filters: Filters | None = None) -> ImagesPruned:
    """Remove the images without a name that neither a container nor an image needs; with the filter
    `dangling=false` the named ones too. Layers that nothing stands on any more go in any case.
    """
    wanted = {name: values for name, values in (filters or {}).items() if values}
    test = image_filters.test(engine, wanted, image_filters.OF_PRUNE)
    named_too = "dangling" in wanted and not image_filters.truth("dangling", wanted["dangling"])
    if named_too:
        test = image_filters.test(
            engine, {k: v for k, v in wanted.items() if k != "dangling"}, image_filters.OF_PRUNE
        )
    sizes = {layer.chain_id: layer.size for layer in engine.layers.layers()}
    used = {container.record.image for container in list(engine.containers.values())}
    present = sorted(engine.images.images(), key=lambda image: -len(image.chain_ids))  # children first
    parents = {image.parent for image in present}
    deletions: list[Deletion] = []
    for image in present:
        names = [*image.references, *image.digests]
        if image.id in used or not test(image):
            continue
        if not named_too and (image.references or image.id in parents):
            continue
        for reference in names or [image.id]:
            try:
                deletions += images.remove(engine, reference)
            except (Conflict, NotFound):  # it came into use, or went with its last name
                continue
    freed = sum(sizes.get(each.deleted or "", 0) for each in deletions)
    freed += engine.images.sweep(engine.layers_in_use())
    engine.events.publish("image", "prune", "", {"reclaimed": str(freed)})
    return ImagesPruned(images_deleted=deletions or None, space_reclaimed=freed)


def prune_containers(engine: Engine, filters: Filters | None = None) -> ContainersPruned:
    """Remove all containers that do not run and fit the filters label, label! and until."""
    wanted = {name: values for name, values in (filters or {}).items() if values}
    for name in wanted:
        if name not in CONTAINER_FILTERS:
            raise InvalidParameter(f"invalid filter '{name}'")
    limit = image_filters.until_ns(wanted["until"]) if "until" in wanted else None
    gone, freed = [], 0
    for container in list(engine.containers.values()):
        if container.is_up or not _fits(container, wanted, limit):
            continue
        size, _ = inspection.sizes(engine, container)
        try:
            lifecycle.remove(engine, container.id)
        except (Conflict, NotFound):
            continue
        gone.append(container.id)
        freed += size
    engine.events.publish("container", "prune", "", {"reclaimed": str(freed)})
    return ContainersPruned(containers_deleted=gone or None, space_reclaimed=freed)


def _fits(container: Container, wanted: Filters, limit: int | None) -> bool:
    labels = container.record.config.labels or {}
    if limit is not None and times.to_ns(container.record.created) >= limit:
        return False
    if not all(has_label(labels, value) for value in wanted.get("label", ())):
        return False
    return not any(has_label(labels, value) for value in wanted.get("label!", ()))
