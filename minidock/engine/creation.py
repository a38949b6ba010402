"""create: from a request and an image to a container that could be started.

Nothing half-made may stay: the directory gets its config.json last and a directory without one is swept at
the next start. The image's layers are pinned until the record that names them is on disk. Only a missing
image may be NotFound: the CLI takes any 404 of this verb as "pull it". Docker Engine API, POST
/containers/create.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from minidock import ids
from minidock.engine import (
    images,
    links,
    merge,
    mounts_settle,
    names,
    records,
    spec_mounts,
    spec_security,
    times,
    validation,
)
from minidock.engine.containers import Container
from minidock.engine.model import (
    ContainerConfig,
    ContainerRecord,
    EndpointConfig,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    RestartPolicy,
)
from minidock.engine.views import Created
from minidock.errors import InvalidParameter, NotFound
from minidock.formats import image as image_format

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.storage.images import Image


def create(
    engine: Engine,
    config: ContainerConfig,
    host_config: HostConfig,
    networking: NetworkingConfig,
    name: str = "",
    platform: str = "",
    warnings: Sequence[str] = (),
) -> Created:
    """Create a container. `warnings` (fields that the API did not know) are answered and kept with the
    engine's own.

    NotFound for a missing image only, or one that is for another machine than `platform`; Conflict for a
    name in use; InvalidParameter, Unsupported.
    """
    if not config.image:
        raise InvalidParameter("invalid reference format")
    found = validation.check(config, host_config, networking, engine.host)
    links.check(engine, host_config.links or ())
    image = images.resolve(engine, config.image)
    if platform:
        _check_platform(config.image, image, platform)
    identifier = ids.random_id()
    record = _record(engine, identifier, image, config, host_config, networking)
    record.warnings = [*warnings, *found]
    with ExitStack() as undo:
        if name:
            name = names.check(name)
            engine.names.reserve(name, identifier)
        else:
            name = engine.names.reserve_random(identifier)
        undo.callback(engine.names.release, name, identifier)
        record.name = name
        with engine.layers.pinned(record.layers), engine.volumes.holding() as holds:
            record.mounts = mounts_settle.settle(engine, record, holds)
            container = Container(record, _make_directory(engine, record, undo))
            with engine.lock:
                engine.containers[identifier] = container
        undo.pop_all()
    engine.events.publish("container", "create", identifier, container.attributes())
    return Created(id=identifier, warnings=record.warnings)


def _make_directory(engine: Engine, record: ContainerRecord, undo: ExitStack) -> str:
    directory = engine.paths.container(record.id)
    os.mkdir(directory, 0o710)
    undo.callback(shutil.rmtree, directory, ignore_errors=True)
    for part, mode in (("rw", 0o700), ("rw/diff", 0o755), ("rw/work", 0o700)):
        os.mkdir(os.path.join(directory, part))
        os.chmod(
            os.path.join(directory, part), mode
        )  # diff is the container's "/": our umask must not show there
    records.write_config(directory, record)
    return directory


def _record(
    engine: Engine,
    identifier: str,
    image: Image,
    user_config: ContainerConfig,
    user_host: HostConfig,
    networking: NetworkingConfig,
) -> ContainerRecord:
    config = merge.merged(user_config, image.config.config)
    path, arguments = merge.command_line(config)
    config.hostname = config.hostname or _hostname(engine, identifier, user_host)
    return ContainerRecord(
        id=identifier,
        name="",
        created=times.now(),
        image=image.id,
        image_name=user_config.image,
        layers=list(image.chain_ids),
        path=path,
        args=arguments,
        config=config,
        host_config=_with_defaults(engine, user_host),
        networking=_networking(config, user_host, networking),
    )


def _hostname(engine: Engine, identifier: str, host: HostConfig) -> str:
    """Return the host's own name where its network or its UTS namespace is shared, as Docker does; else the
    short id.
    """
    return engine.host.name if "host" in (host.network_mode, host.uts_mode) else ids.short(identifier)


def _with_defaults(engine: Engine, given: HostConfig) -> HostConfig:
    """Return what inspect will show: every default that Docker writes out at create."""
    host = msgspec.structs.replace(given)
    host.network_mode = "bridge" if given.network_mode in ("", "default") else given.network_mode
    host.ipc_mode = given.ipc_mode or "private"
    host.cgroupns_mode = given.cgroupns_mode or engine.host.cgroup_namespace_mode
    host.runtime = given.runtime or "minidock"
    host.shm_size = given.shm_size or spec_mounts.DEFAULT_SHM_SIZE
    options = given.log_config.config
    if given.log_config.type in ("", "json-file"):
        options = {**engine.configuration.log_options, **(options or {})}
    host.log_config = LogConfig(type=given.log_config.type or "json-file", config=options or {})
    host.restart_policy = RestartPolicy(
        name=given.restart_policy.name or "no", maximum_retry_count=given.restart_policy.maximum_retry_count
    )
    if host.memory and not host.memory_swap:
        host.memory_swap = 2 * host.memory
    if not engine.host.cgroups.knows("oom_kill_disable"):
        host.oom_kill_disable = None
    if host.memory_swappiness == -1 or not engine.host.cgroups.knows("swappiness"):
        host.memory_swappiness = None
    if host.pids_limit is not None and host.pids_limit <= 0:
        host.pids_limit = None
    if host.masked_paths is None:
        host.masked_paths = [] if host.privileged else list(engine.host.masked_paths)
    if host.readonly_paths is None:
        host.readonly_paths = [] if host.privileged else list(spec_security.READONLY_PATHS)
    return host


def _networking(config: ContainerConfig, host: HostConfig, given: NetworkingConfig) -> NetworkingConfig:
    """Return the endpoints that the container will have, with what the user asked of them."""
    if host.network_mode.startswith("container:"):
        return NetworkingConfig(endpoints_config={})
    mode = "bridge" if host.network_mode in ("", "default") else host.network_mode
    asked = {
        "bridge" if name == "default" else name: endpoint or EndpointConfig()
        for name, endpoint in (given.endpoints_config or {}).items()
    }
    first = asked.pop(mode, EndpointConfig())
    first.mac_address = first.mac_address or config.mac_address or ""
    return NetworkingConfig(endpoints_config={mode: first, **asked})


def _check_platform(reference: str, image: Image, text: str) -> None:
    """Raise NotFound for an image of another machine than asked for (`linux/arm64`, `arm64`, `linux`)."""
    wanted = image_format.parse_platform(text)
    if (wanted.os, wanted.architecture) != (image.os, image.architecture):
        raise NotFound(
            f"image with reference {reference} was found but does not match the specified platform: "
            f"wanted {wanted.os}/{wanted.architecture}, actual: {image.os}/{image.architecture}"
        )
