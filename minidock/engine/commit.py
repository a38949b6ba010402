"""commit: a container's changes as a new image above the one it was made from.

The layer's tar comes straight from the upperdir, so it costs what the change costs, and the same change is
the same tar. What the image inherits of the container's configuration is what a container inherits of an
image: Tty and its kin never (docker-2014.md tells what came of that). Source: Docker Engine API v1.50, POST
/commit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import images, lifecycle, merge, supervision, times
from minidock.engine.containers import Container, find
from minidock.engine.model import ContainerConfig, Healthcheck
from minidock.errors import Conflict, InvalidParameter
from minidock.formats.changes import apply_changes
from minidock.formats.image import ExecutionConfig
from minidock.formats.image import Healthcheck as ImageHealthcheck
from minidock.formats.reference import parse_reference
from minidock.storage import committing
from minidock.storage.packing import ChunkReader, Manner, pack

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_INHERITED = (
    "user", "exposed_ports", "env", "cmd", "volumes", "working_dir", "entrypoint", "on_build", "labels",
    "shell", )  # fmt: skip


class Wanted(msgspec.Struct, kw_only=True):
    """What the new image shall have beside the changed files; `config` wins over the container's."""

    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: Sequence[str] = ()
    config: ContainerConfig = msgspec.field(default_factory=ContainerConfig)


def commit(engine: Engine, reference: str, wanted: Wanted) -> str:
    """Make the image and return its id; NotFound, or InvalidParameter for a change or a name that is none."""
    container = find(engine, reference)
    name = _name(wanted.repository, wanted.tag)
    config = apply_changes(_portable(wanted.config), wanted.changes)
    step = committing.Step(
        execution=execution(config, container.record.config),
        created=times.now(),
        created_by=" ".join(container.record.config.cmd or ()),
        author=wanted.author,
        comment=wanted.comment,
        reference=name,
        container=container.id,
    )
    if container.status in ("removing", "dead", "gone"):
        raise Conflict(f"You cannot commit container {container.id} which is {container.status.capitalize()}")
    with container.tree.shared(), ExitStack() as undo:
        if container.is_running:
            _pause(engine, container, wanted.pause, undo)
        else:
            supervision.await_former_shim(engine, container)
        upper = os.open(
            os.path.join(container.directory, "rw", "diff"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        )
        undo.callback(os.close, upper)
        tar = ChunkReader(pack(upper, ".", "", Manner(is_layer=True)))
        image = committing.commit(engine.images, container.record.image, tar, step)
    if name:
        images.publish(engine, image, "tag", name)
    attributes = container.attributes(comment=wanted.comment, imageID=image.id, imageRef=name)
    engine.events.publish("container", "commit", container.id, attributes)
    return image.id


def execution(config: ExecutionConfig, container: ContainerConfig) -> ExecutionConfig:
    """Return the image's execution config: `config`, completed from the container's as create does it."""
    members = {name: getattr(config, name) for name in _INHERITED}
    health = config.healthcheck
    wanted = ContainerConfig(
        **members,
        healthcheck=None if health is None else Healthcheck(**msgspec.structs.asdict(health)),
        stop_signal=config.stop_signal or None,
    )
    return _portable(merge.merged(wanted, _portable(container)))


def _portable(config: ContainerConfig) -> ExecutionConfig:
    """Return what of a container's configuration an image can pass on."""
    members = {name: getattr(config, name) for name in _INHERITED}
    health = config.healthcheck
    return ExecutionConfig(
        **{**members, "labels": config.labels or None, "env": config.env or None},
        healthcheck=None if health is None else ImageHealthcheck(**msgspec.structs.asdict(health)),
        stop_signal=config.stop_signal or "",
    )


def _name(repository: str, tag: str) -> str:
    if not repository:
        return ""
    parsed = parse_reference(f"{repository}:{tag}" if tag else repository)
    if parsed.digest:
        raise InvalidParameter("refusing to create a tag with a digest reference")
    return parsed.with_default_tag().familiar


def _pause(engine: Engine, container: Container, wanted: bool, undo: ExitStack) -> None:
    """Freeze a running container until `undo`: its files shall not change while they are read."""
    if wanted and container.status == "running":
        try:
            lifecycle.pause(engine, container.id)
        except Conflict:  # it has ended meanwhile
            supervision.await_former_shim(engine, container)
            return
        undo.callback(_resume, engine, container)


def _resume(engine: Engine, container: Container) -> None:
    with suppress(Conflict):  # it may end now, when its only process had ended before the freeze
        lifecycle.unpause(engine, container.id)
