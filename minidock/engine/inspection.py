"""inspect: everything about one container, as Docker shows it.

Plain reading: no lock is taken, since records and states are replaced whole.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import endpoints, links, mounts
from minidock.engine.containers import Container, find
from minidock.engine.model import HostConfig, RunState
from minidock.engine.transitions import UP
from minidock.engine.views import (
    ContainerInspection,
    DriverData,
    HealthState,
    MountPoint,
    NetworkSettings,
    State,
)
from minidock.storage import trees

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
        state=state(container.state, container.health.state if container.health else None),
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
        exec_ids=[one.id for one in engine.execs.of(container)] or None,
        host_config=_shown_host_config(engine, container),
        graph_driver=DriverData(name=STORAGE_DRIVER, data=_overlay(engine, container)),
        size_rw=size_rw,
        size_root_fs=size_root,
        mounts=mount_points(container),
        config=record.config,
        network_settings=_network_settings(engine, container),
    )


def state(run: RunState, health: HealthState | None = None) -> State:
    """Return Docker's view of the state: several booleans that say the same as `status`."""
    status = "removing" if run.status == "gone" else run.status
    return State(
        status=status,
        running=status in UP,
        paused=status == "paused",
        restarting=status == "restarting",
        oom_killed=run.oom_killed,
        dead=status == "dead",
        pid=run.pid,
        exit_code=run.exit_code,
        error=run.error,
        started_at=run.started_at,
        finished_at=run.finished_at,
        health=health,
    )


def mount_points(container: Container) -> list[MountPoint]:
    """Return the mounts that Docker lists here: those of `--tmpfs` are not among them."""
    plain = {mounts.cleaned(target) for target in container.record.host_config.tmpfs or ()}
    return [
        MountPoint(
            type=point.type,
            name=point.name or None,
            source=point.source,
            destination=point.destination,
            driver="local" if point.type == "volume" else None,
            mode=point.mode,
            rw=point.rw,
            propagation=point.propagation,
        )
        for point in container.record.mounts
        if point.type != "tmpfs" or point.destination not in plain
    ]


def sizes(engine: Engine, container: Container) -> tuple[int, int]:
    """Return the bytes of the read-write layer, and of the whole tree."""
    own = trees.tree_size(os.path.join(container.directory, "rw", "diff"))
    return own, own + sum(engine.layers.layer(chain_id).size for chain_id in container.record.layers)


def _shown_host_config(engine: Engine, container: Container) -> HostConfig:
    host = container.record.host_config
    return msgspec.structs.replace(host, links=links.shown(engine, container)) if host.links else host


def _network_settings(engine: Engine, container: Container) -> NetworkSettings:
    settings = NetworkSettings(networks=endpoints.views(engine, container))
    if container.is_running:
        exposed = dict.fromkeys(container.record.config.exposed_ports or ())
        settings.ports = {**exposed, **container.state.ports}
        settings.sandbox_key = f"/proc/{container.state.pid}/ns/net"  # held by the process, not by a file
        settings.sandbox_id = container.id
    default = settings.networks.get("bridge")
    if default is not None:  # the older fields, from when there was only one network
        settings.endpoint_id, settings.gateway = default.endpoint_id, default.gateway
        settings.ip_address, settings.ip_prefix_len = default.ip_address, default.ip_prefix_len
        settings.mac_address, settings.ipv6_gateway = default.mac_address, default.ipv6_gateway
        settings.global_ipv6_address = default.global_ipv6_address
        settings.global_ipv6_prefix_len = default.global_ipv6_prefix_len
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
