"""Looking at images: the list, one in full, and the history of how it was made.

Plain reading of the store, in Docker's shape. Docker Engine API v1.50, definitions ImageSummary and
ImageInspect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import images, times
from minidock.engine.events import has_label
from minidock.engine.inspection import STORAGE_DRIVER
from minidock.engine.model import ContainerConfig, Healthcheck
from minidock.engine.views import (
    DriverData,
    HistoryEntry,
    ImageInspection,
    ImageMetadata,
    ImageSummary,
    RootFS,
)
from minidock.errors import InvalidParameter

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.formats.image import ExecutionConfig
    from minidock.storage.images import Image

Filters = Mapping[str, Sequence[str]]
Test = Callable[["Image"], bool]


def summaries(engine: Engine, show_all: bool = False, filters: Filters | None = None) -> list[ImageSummary]:
    """Return the images, newest first; those that only other images stand on are shown with `show_all`.

    Filters: before, since, dangling, label, reference, until. InvalidParameter for any other.
    """
    present = engine.images.images()
    parents = {image.parent for image in present}
    tests = [_test(engine, name, values) for name, values in (filters or {}).items() if values]
    shown = [
        image
        for image in present
        if (show_all or image.references or image.digests or image.id not in parents)
        and all(test(image) for test in tests)
    ]
    shown.sort(key=_created, reverse=True)
    return [_summary(image) for image in shown]


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
        metadata=ImageMetadata(),
    )


def history(engine: Engine, reference: str) -> list[HistoryEntry]:
    """Return the steps that made the image, newest first; only the newest has an id here, as in Docker after
    a pull.
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
        found.insert(0, entry)
    if found:
        found[0].id = image.id
        found[0].tags = list(image.references) or None
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
        created=_created(image) // 1_000_000_000,
        size=image.size,
        shared_size=-1,
        containers=-1,
        labels=image.config.execution.labels,
    )


def _created(image: Image) -> int:
    """Return nanoseconds since 1970; an image's own words may be anything, and then it is old."""
    try:
        return times.to_ns(image.created)
    except InvalidParameter:
        return 0


def _overlay(engine: Engine, image: Image) -> dict[str, str]:
    directories = [engine.layers.diff_directory(chain_id) for chain_id in reversed(image.chain_ids)]
    found = {"UpperDir": directories[0]} if directories else {}
    return {**found, "LowerDir": ":".join(directories[1:])} if len(directories) > 1 else found


def _test(engine: Engine, name: str, values: Sequence[str]) -> Test:
    if name == "dangling":
        wanted = [value.lower() for value in values]
        if any(value not in ("true", "false", "1", "0") for value in wanted):
            raise InvalidParameter(f"invalid filter 'dangling={values[0]}'")
        dangling = wanted[0] in ("true", "1")
        return lambda image: bool(image.references) != dangling
    if name == "label":
        return lambda image: all(has_label(image.config.execution.labels or {}, value) for value in values)
    if name == "reference":
        patterns = [_pattern(value) for value in values]
        return lambda image: any(pattern.fullmatch(form) for pattern in patterns for form in _forms(image))
    if name in ("before", "since"):
        marks = [_created(engine.images.resolve(value)) for value in values]
        if name == "before":
            return lambda image: _created(image) < min(marks)
        return lambda image: _created(image) > max(marks)
    if name == "until":
        limits = [
            int(float(value) * 1e9) if value.replace(".", "", 1).isdecimal() else times.to_ns(value)
            for value in values
        ]
        return lambda image: _created(image) < min(limits)
    raise InvalidParameter(f"invalid filter '{name}'")


def _forms(image: Image) -> list[str]:
    """Return the names of the image with and without their tags: a pattern may mean either."""
    names = [*image.references, *image.digests]
    return names + [re.sub(r"(@.*|:[^:/]*)\Z", "", name) for name in names]


def _pattern(text: str) -> re.Pattern[str]:
    """Translate a shell pattern whose `*` does not cross a slash."""
    parts = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in text))
