"""The words for both versions of control groups: limits, statistics, and what a cgroup can do.

Values are Docker's and the OCI runtime specification's (written for version 1): `cgroup_v1` writes them as
they are, `cgroup_v2` converts them. cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, OCI
config-linux.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from minidock.kernel.devices import DeviceRule

UNIFIED = "unified"  # the name under which paths() lists the directory in the version 2 hierarchy


@dataclass(frozen=True)
class BlockDeviceValue:
    """One number for one block device: a rate (bytes or operations per second, 0 = no limit) or a weight."""

    major: int
    minor: int
    value: int


@dataclass(frozen=True)
class Limits:
    """What a cgroup shall limit; None leaves the kernel's present value alone.

    memory, memory_swap, memory_reservation: bytes; -1 = unlimited; `memory_swap` is memory *plus* swap.
    swappiness: 0..100. oom_kill_disable: let processes hang instead of killing them. Both exist in version 1
    only. cpu_shares: 2..262144 (1024 = one share). cpu_quota_usec per cpu_period_usec: -1 = unlimited.
    cpuset_cpus, cpuset_mems: lists such as "0-2,7". pids: negative = unlimited.
    blkio_weight: 10..1000. The throttles are rates per second and device.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    swappiness: int | None = None
    oom_kill_disable: bool | None = None
    cpu_shares: int | None = None
    cpu_quota_usec: int | None = None
    cpu_period_usec: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    blkio_weight_devices: tuple[BlockDeviceValue, ...] = ()
    read_bytes_per_second: tuple[BlockDeviceValue, ...] = ()
    write_bytes_per_second: tuple[BlockDeviceValue, ...] = ()
    read_operations_per_second: tuple[BlockDeviceValue, ...] = ()
    write_operations_per_second: tuple[BlockDeviceValue, ...] = ()


@dataclass(frozen=True)
class BlockIO:
    """One counter of one block device; `operation` is read, write, sync, async, discard or total."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True)
class Statistics:
    """What a cgroup has used. None: not counted here by this kernel; a `*_limit` of None: no limit."""

    memory_usage: int | None
    memory_max_usage: int | None
    memory_limit: int | None
    memory_failures: int | None
    memory: dict[str, int]
    cpu_usage_ns: int | None
    cpu_user_ns: int | None
    cpu_system_ns: int | None
    cpu_per_cpu_ns: tuple[int, ...]
    cpu_periods: int | None
    cpu_throttled_periods: int | None
    cpu_throttled_ns: int | None
    pids: int | None
    pids_limit: int | None
    block_io_bytes: tuple[BlockIO, ...]
    block_io_operations: tuple[BlockIO, ...]


class Cgroup(Protocol):
    """One control group, in every hierarchy of the host.

    The usual course: create, apply and restrict_devices, join (by the first process itself), statistics while
    it runs; at the end kill, oom_kills, delete. Nothing is kept in memory: an object for the same path, made
    later or in another process, does the same.
    """

    @property
    def path(self) -> str:
        """The path below the root of each hierarchy, e.g. "/minidock/3f2a"."""

    def paths(self) -> dict[str, str]:
        """Map each controller ("memory", "name=systemd", "unified") to this cgroup's directory."""

    def create(self, exist_ok: bool = False) -> None:
        """Make the cgroup and its parents. An empty left-over is made anew; EBUSY if it holds processes.

        With `exist_ok` whatever is there is kept, with its limits, processes and children.
        """

    def exists(self) -> bool:
        """Tell whether the cgroup is there in at least one hierarchy."""

    def supported(self) -> frozenset[str]:
        """Name the fields of Limits that this (existing) cgroup can limit."""

    def apply(self, limits: Limits) -> None:
        """Write the limits and read each back. OSError or ValueError names the first that did not take."""

    def restrict_devices(self, rules: Sequence[DeviceRule]) -> None:
        """Deny every device except what the rules allow (devices.reduce); replaces earlier rules."""

    def join(self, pid: int = 0) -> None:
        """Move process `pid` (0: the caller) with all its threads into the cgroup."""

    def join_descriptors(self) -> list[int]:
        """Open the files by which a *single-threaded* process joins the cgroup (see cgroups.join_by)."""

    def clone_descriptor(self) -> int | None:
        """Open the version 2 directory for clone3(CLONE_INTO_CGROUP); None if there is no version 2."""

    def freeze(self) -> None:
        """Stop every process; returns when all have stopped (TimeoutError, thawed, if they do not)."""

    def thaw(self) -> None:
        """Let the processes run again."""

    def is_frozen(self) -> bool:
        """Tell whether the cgroup is frozen or about to be."""

    def kill(self) -> None:
        """Send SIGKILL to every process, such that none escapes by forking. They may die a moment later."""

    def processes(self) -> list[int]:
        """List the process ids in the cgroup and below it."""

    def statistics(self) -> Statistics:
        """Read what the cgroup has used so far."""

    def oom_kills(self) -> int:
        """Count the processes that the kernel killed because the cgroup was out of memory."""

    def delete(self) -> None:
        """Remove the cgroup and those below it, waiting until they are empty. EBUSY if processes stay."""
