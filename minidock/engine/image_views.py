"""Looking at images: the list, one in full, and the history of how it was made.

Plain reading of the store, in Docker's shape. Docker Engine API v1.50, definitions ImageSummary and
ImageInspect.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import image_filters, images, times
from minidock.engine.image_filters import Filters
from minidock.engine.image_model import HistoryEntry, ImageInspection, ImageMetadata, ImageSummary, RootFS
from minidock.engine.inspection import STORAGE_DRIVER
from minidock.engine.model import ZERO_TIME, ContainerConfig, Healthcheck
from minidock.engine.views import DriverData

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.formats.image import ExecutionConfig
    from minidock.storage.images import Image


def summaries(
    engine: Engine, show_all: bool = False, filters: Filters | None = None, shared_size: bool = False
) -> list[ImageSummary]:
    """Return the images, newest first; those that only other images stand on are shown with `show_all`.

    `shared_size` also counts the bytes of each image that others among the shown have too.
    """
    present = engine.images.images()
    parents = {image.parent for image in present}
    test = image_filters.test(engine, filters or {}, image_filters.OF_LIST)
    shown = [
        image
        for image in present
        if (show_all or image.references or image.digests or image.id not in parents) and test(image)
    ]
    shown.sort(key=image_filters.created_ns, reverse=True)
    found = [_summary(image) for image in shown]
    patterns = (filters or {}).get("reference")
    for summary in found if patterns else ():
        summary.repo_tags = image_filters.fitting_names(summary.repo_tags, patterns or ())
        summary.repo_digests = image_filters.fitting_names(summary.repo_digests, patterns or ())
    if shared_size:
        users = Counter(chain_id for image in shown for chain_id in image.chain_ids)
        for image, summary in zip(shown, found, strict=True):
            shared = (chain_id for chain_id in image.chain_ids if users[chain_id] > 1)
            summary.shared_size = sum(engine.layers.layer(chain_id).size for chain_id in shared)
    return found


def inspect(engine: Engine, reference: str) -> ImageInspection:
    """Return what `docker inspect IMAGE` shows; NotFound("No such image: x:latest")."""
    image = images.resolve(engine, reference)
    document = image.config
    comments = [step.comment for step in document.history or ()]
    return ImageInspection(
        id=image.id,
        repo_tags=list(image.references),
        repo_digests=list(image.digests),
        parent=image.parent,
        comment=comments[-1] if comments else "",
        created=image.created or None,
        docker_version=document.docker_version,
        author=document.author,
        config=container_config(document.execution),
        architecture=image.architecture,
        variant=document.variant or None,
        os=image.os,
        size=image.size,
        graph_driver=DriverData(name=STORAGE_DRIVER, data=_overlay(engine, image)),
        root_fs=RootFS(type="layers", layers=list(document.rootfs.diff_ids)),
        metadata=ImageMetadata(last_tag_time=image.last_tag_time or ZERO_TIME),
    )


def history(engine: Engine, reference: str) -> list[HistoryEntry]:
    """Return the steps that made the image, newest first. The first has the image's id, the following have
    those of its parents as far as they are known, as in Docker: of a pulled image none is.
    """
    image = images.resolve(engine, reference)
    layers = list(image.chain_ids)
    found: list[HistoryEntry] = []
    for step in image.config.history or ():
        size = 0 if step.empty_layer or not layers else engine.layers.layer(layers.pop(0)).size
        created = times.to_ns(step.created) // 1_000_000_000 if step.created else 0
        entry = HistoryEntry(
            id="<missing>",
            created=created,
            created_by=step.created_by,
            tags=None,
            size=size,
            comment=step.comment,
        )
        found.append(entry)
    found.reverse()
    ancestor: Image | None = image
    for entry in found:
        if ancestor is None:
            break
        entry.id, entry.tags = ancestor.id, list(ancestor.references) or None
        ancestor = engine.images.image(ancestor.parent) if ancestor.parent else None
    return found


def container_config(execution: ExecutionConfig) -> ContainerConfig:
    """Return an image's execution config in the type that containers use."""
    members = msgspec.structs.asdict(execution)
    if execution.healthcheck is not None:
        members["healthcheck"] = Healthcheck(**msgspec.structs.asdict(execution.healthcheck))
    return ContainerConfig(**members)


def _summary(image: Image) -> ImageSummary:
    return ImageSummary(
        id=image.id,
        parent_id=image.parent,
        repo_tags=list(image.references),
        repo_digests=list(image.digests),
        created=image_filters.created_ns(image) // 1_000_000_000,
        size=image.size,
        shared_size=-1,
        containers=-1,
        labels=image.config.execution.labels,
        old_id=image.old_id or None,
    )


def _overlay(engine: Engine, image: Image) -> dict[str, str]:
    directories = [engine.layers.diff_directory(chain_id) for chain_id in reversed(image.chain_ids)]
    found = {"UpperDir": directories[0]} if directories else {}
    return {**found, "LowerDir": ":".join(directories[1:])} if len(directories) > 1 else found
