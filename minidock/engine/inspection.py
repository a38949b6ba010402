"""inspect: everything about one container, as Docker shows it.

Plain reading: no lock is taken, since records and states are replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minidock.engine import spec_mounts
from minidock.engine.containers import Container, find
from minidock.engine.model import EndpointConfig, RunState
from minidock.engine.views import ContainerInspection, DriverData, MountPoint, NetworkSettings, State

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

STORAGE_DRIVER = "overlay2"


def inspect(engine: Engine, reference: str, size: bool = False) -> ContainerInspection:
    """Return what `docker inspect` shows; the sizes only with `size`: they take a walk over the files."""
    container = find(engine, reference)
    record, directory = container.record, container.directory
    size_rw, size_root = sizes(engine, container) if size else (None, None)
    return ContainerInspection(
        id=record.id,
        created=record.created,
        path=record.path,
        args=record.args,
        state=state(container.state),
        image=record.image,
        resolv_conf_path=os.path.join(directory, "resolv.conf"),
        hostname_path=os.path.join(directory, "hostname"),
        hosts_path=os.path.join(directory, "hosts"),
        log_path=container.log_path if record.host_config.log_config.type == "json-file" else "",
        name=f"/{record.name}",
        restart_count=container.state.restart_count,
        driver=STORAGE_DRIVER,
        platform=record.platform,
        mount_label="",
        process_label="",
        app_armor_profile="",
        exec_ids=None,
        host_config=record.host_config,
        graph_driver=DriverData(name=STORAGE_DRIVER, data=_overlay(engine, container)),
        size_rw=size_rw,
        size_root_fs=size_root,
        mounts=mount_points(container),
        config=record.config,
        network_settings=_network_settings(container),
    )


def state(run: RunState) -> State:
    """Return Docker's view of the state: several booleans that say the same as `status`."""
    status = "removing" if run.status == "gone" else run.status
    return State(
        status=status,
        running=status in ("running", "paused"),
        paused=status == "paused",
        oom_killed=run.oom_killed,
        dead=status == "dead",
        pid=run.pid,
        exit_code=run.exit_code,
        error=run.error,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def mount_points(container: Container) -> list[MountPoint]:
    """Return the binds and `--mount` tmpfs; Docker does not list those of `--tmpfs` here."""
    host = container.record.host_config
    plain = {"/" + target.strip("/") for target in host.tmpfs or ()}
    return [
        point for point in spec_mounts.points(host) if point.type != "tmpfs" or point.destination not in plain
    ]


def networks(container: Container) -> dict[str, EndpointConfig]:
    """Return the container's endpoints by network."""
    given = container.record.networking.endpoints_config or {}
    return {name: endpoint or EndpointConfig() for name, endpoint in given.items()}


def sizes(engine: Engine, container: Container) -> tuple[int, int]:
    """Return the bytes of the read-write layer, and of the whole tree."""
    own = sum(_file_sizes(os.path.join(container.directory, "rw", "diff")))
    return own, own + sum(engine.layers.layer(chain_id).size for chain_id in container.record.layers)


def _network_settings(container: Container) -> NetworkSettings:
    settings = NetworkSettings(networks=networks(container))
    if container.is_running:
        settings.ports = dict.fromkeys(container.record.config.exposed_ports or ())
        settings.sandbox_key = f"/proc/{container.state.pid}/ns/net"  # held by the process, not by a file
    return settings


def _overlay(engine: Engine, container: Container) -> dict[str, str]:
    """Return where the layers lie, in overlayfs's words: lowerdir topmost first."""
    read_write = os.path.join(container.directory, "rw")
    lower = [engine.layers.diff_directory(chain_id) for chain_id in reversed(container.record.layers)]
    return {
        "ID": container.id,
        "LowerDir": ":".join(lower),
        "MergedDir": f"/proc/{container.state.pid}/root" if container.is_running else "",
        "UpperDir": os.path.join(read_write, "diff"),
        "WorkDir": os.path.join(read_write, "work"),
    }


def _file_sizes(directory: str) -> Iterator[int]:
    """Yield the size of each file below `directory` once, however many names it has."""
    seen = set()
    for parent, _, names, parent_fd in os.fwalk(directory):
        for name in names:
            try:
                facts = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                yield facts.st_size
        del parent
