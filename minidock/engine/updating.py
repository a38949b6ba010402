"""update: other limits for a container, at once where it runs, and another restart policy.

Only what the request names changes; 0 and "" are how Docker's clients say "not named". The kernel is asked
first and the record written afterwards, so the record never promises what did not take. Docker Engine API,
POST /containers/{id}/update.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import records, spec_resources, validation
from minidock.engine.containers import find
from minidock.engine.model import HostConfig
from minidock.errors import Conflict, InvalidParameter, MinidockError
from minidock.kernel.cgroups import Limits
from minidock.runtime import bundle, launch

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

CHANGEABLE = (
    "blkio_weight",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_reservation",
    "memory_swap",
    "nano_cpus",
    "pids_limit",
)
NOT_CHANGEABLE = (
    "blkio_weight_device",
    "blkio_device_read_bps",
    "blkio_device_read_iops",
    "blkio_device_write_bps",
    "blkio_device_write_iops",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "devices",
    "device_cgroup_rules",
    "device_requests",
    "kernel_memory",
    "kernel_memory_tcp",
    "memory_swappiness",
    "oom_kill_disable",
    "ulimits",
)


def update(engine: Engine, reference: str, wanted: HostConfig) -> list[str]:
    """Change the container's limits and restart policy; return warnings."""
    container = find(engine, reference)
    with container.lock:
        if container.status in ("removing", "gone", "dead"):
            raise Conflict(f"Cannot update container {container.id}: it is marked for removal")
        old = container.record.host_config
        new = merged(old, wanted)
        warnings = validation.check_update(new, engine.host)
        warnings += [
            f"{name} cannot be changed by update and has no effect."
            for name in NOT_CHANGEABLE
            if getattr(wanted, name) not in (None, 0, "", [], -1, False)
        ]
        if container.is_running:
            try:
                engine.cgroup(container).apply(difference(old, new))
            except (OSError, ValueError) as error:
                raise MinidockError(f"Cannot update container {container.id}: {error}") from error
        record = msgspec.structs.replace(container.record, host_config=new)
        records.write_config(container.directory, record)
        container.record = record
    engine.events.publish("container", "update", container.id, container.attributes())
    return warnings


def merged(old: HostConfig, wanted: HostConfig) -> HostConfig:
    """Return `old` with what `wanted` names; InvalidParameter where the two contradict each other."""
    given = {name: value for name in CHANGEABLE if (value := getattr(wanted, name)) not in (None, 0, "")}
    if wanted.pids_limit is not None:
        given["pids_limit"] = wanted.pids_limit
    if old.nano_cpus and (given.keys() & {"cpu_period", "cpu_quota"}):
        other = "Period" if "cpu_period" in given else "Quota"
        raise InvalidParameter(
            f"Conflicting options: CPU {other} cannot be updated as NanoCPUs has already been set"
        )
    if (old.cpu_period or old.cpu_quota) and "nano_cpus" in given:
        other = "Period" if old.cpu_period else "Quota"
        raise InvalidParameter(
            f"Conflicting options: Nano CPUs cannot be updated as CPU {other} has already been set"
        )
    if "memory" in given and "memory_swap" not in given and 0 < old.memory_swap < given["memory"]:
        raise InvalidParameter(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    if wanted.restart_policy.name:
        if old.auto_remove:
            raise InvalidParameter(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        given["restart_policy"] = wanted.restart_policy
    return msgspec.structs.replace(old, **given)


def difference(old: HostConfig, new: HostConfig) -> Limits:
    """Return the limits in which `new` differs; memory and swap go together, since one bounds the other."""
    before, after = _limits(old), _limits(new)
    changed = {
        one.name: getattr(after, one.name)
        for one in fields(Limits)
        if getattr(before, one.name) != getattr(after, one.name)
    }
    if changed.keys() & {"memory", "memory_swap"}:
        changed |= {"memory": after.memory, "memory_swap": after.memory_swap}
    if old.pids_limit and "pids" in changed and changed["pids"] is None:
        changed["pids"] = -1
    return Limits(**changed)


def _limits(host: HostConfig) -> Limits:
    return launch.limits(msgspec.convert(spec_resources.limits(host), bundle.Resources))
