"""What the engine answers about images, as plain data in Docker's words.

Like `views`, whose conversion to Docker's JSON serves these too. Docker Engine API v1.50, definitions
ImageInspect, ImageSummary, HistoryResponseItem and ImageDeleteResponseItem.
"""

import msgspec

from minidock.engine.model import ZERO_TIME, ContainerConfig
from minidock.engine.views import DriverData


class RootFS(msgspec.Struct, kw_only=True):
    """An image's layers as DiffIDs, lowest first."""

    type: str
    layers: list[str]


class ImageMetadata(msgspec.Struct, kw_only=True):
    """What this engine knows about an image beyond its config."""

    last_tag_time: str = ZERO_TIME


class ImageInspection(msgspec.Struct, kw_only=True):
    """`docker inspect IMAGE`."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    created: str | None
    docker_version: str
    author: str
    config: ContainerConfig
    architecture: str
    variant: str | None
    os: str
    size: int
    graph_driver: DriverData
    root_fs: RootFS
    metadata: ImageMetadata


class ImageSummary(msgspec.Struct, kw_only=True):
    """One image of `docker images`; -1 is "not computed". Docker has no `old_id`: an ID of 2014."""

    id: str
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    shared_size: int
    containers: int
    labels: dict[str, str] | None
    old_id: str | None = None


class HistoryEntry(msgspec.Struct, kw_only=True):
    """One step of an image's history; `id` is "<missing>" where no image is known for the step."""

    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class Deletion(msgspec.Struct, kw_only=True):
    """One line of `docker rmi`: exactly one of the two is set."""

    untagged: str | None = None
    deleted: str | None = None
