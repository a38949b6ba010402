"""Writing Docker's limits, which are in the terms of version 1, to the files of cgroups version 2.

Documentation/admin-guide/cgroup-v2.rst; the conversions are those of runc 1.3.2 and crun 1.23 and later.
"""

import errno
import math
import os

from minidock.kernel import cgroup_files as files
from minidock.kernel.cgroup_model import BlockDeviceValue, Limits

DEFAULT_PERIOD_USEC = 100_000

# Field of Limits -> the files of which one must be there. What is not here does not exist in version 2.
FILES = {
    "memory": ("memory.max",),
    "memory_swap": ("memory.swap.max",),
    "memory_reservation": ("memory.low",),
    "cpu_shares": ("cpu.weight",),
    "cpu_quota_usec": ("cpu.max",),
    "cpu_period_usec": ("cpu.max",),
    "cpuset_cpus": ("cpuset.cpus",),
    "cpuset_mems": ("cpuset.mems",),
    "pids": ("pids.max",),
    "blkio_weight": ("io.bfq.weight", "io.weight"),
    "blkio_weight_devices": ("io.bfq.weight", "io.weight"),
    "read_bytes_per_second": ("io.max",),
    "write_bytes_per_second": ("io.max",),
    "read_operations_per_second": ("io.max",),
    "write_operations_per_second": ("io.max",),
}

_IO_MAX_KEYS = {
    "read_bytes_per_second": "rbps",
    "write_bytes_per_second": "wbps",
    "read_operations_per_second": "riops",
    "write_operations_per_second": "wiops",
}


def supported(directory: str) -> frozenset[str]:
    """Name the fields of Limits for which this cgroup has a file."""
    return frozenset(
        field
        for field, names in FILES.items()
        if any(os.path.exists(f"{directory}/{name}") for name in names)
    )


def apply(directory: str, limits: Limits) -> None:
    """Write and read back each limit that is not None. ValueError for what version 2 does not know."""
    if limits.swappiness is not None:
        raise ValueError("memory swappiness per cgroup does not exist in cgroups version 2")
    if limits.oom_kill_disable:
        raise ValueError("disabling the OOM killer does not exist in cgroups version 2")
    _apply_memory(directory, limits)
    if limits.cpu_shares is not None:
        files.write_checked(directory, "cpu.weight", str(cpu_weight(limits.cpu_shares)))
    if limits.cpu_quota_usec is not None or limits.cpu_period_usec is not None:
        present = files.read(directory, "cpu.max").split()
        files.write_checked(
            directory, "cpu.max", cpu_max(limits.cpu_quota_usec, limits.cpu_period_usec, present)
        )
    if limits.cpuset_mems:
        files.write_cpu_list(directory, "cpuset.mems", limits.cpuset_mems)
    if limits.cpuset_cpus:
        files.write_cpu_list(directory, "cpuset.cpus", limits.cpuset_cpus)
    if limits.pids is not None:
        files.write_checked(directory, "pids.max", "max" if limits.pids < 0 else str(limits.pids))
    _apply_io(directory, limits)


def cpu_weight(shares: int) -> int:
    """Convert CPU shares (2..262144, default 1024) to a weight (1..10000, default 100).

    A parabola through the three fixed pairs on a log-log scale: 2 -> 1, 1024 -> 100, 262144 -> 10000.
    """
    if not 2 <= shares <= 262144:
        raise ValueError(f"invalid CPU shares {shares}: they are 2 to 262144")
    if shares == 2:
        return 1
    if shares == 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def cpu_max(quota_usec: int | None, period_usec: int | None, present: list[str]) -> str:
    """Return the text of cpu.max, "quota period"; what is None stays as it is at present."""
    quota = present[0] if quota_usec is None else "max" if quota_usec < 0 else str(quota_usec)
    period = present[1] if period_usec is None else str(period_usec)
    return f"{quota} {period}"


def io_weight(weight: int) -> int:
    """Convert a block I/O weight (10..1000) to version 2's (1..10000)."""
    if not 10 <= weight <= 1000:
        raise ValueError(f"invalid block I/O weight {weight}: it is 10 to 1000")
    return 1 + (weight - 10) * 9999 // 990


def swap_max(memory: int | None, memory_swap: int) -> int:
    """Convert memory+swap, as Docker counts, to swap alone, as version 2 counts (-1 = unlimited)."""
    if memory_swap < 0:
        return -1
    if memory is None or memory < 0:
        raise ValueError("a memory+swap limit needs a memory limit")
    if memory_swap < memory:
        raise ValueError(f"memory+swap limit {memory_swap} is less than the memory limit {memory}")
    return memory_swap - memory


def _apply_memory(directory: str, limits: Limits) -> None:
    memory, swap = limits.memory, limits.memory_swap
    if memory == -1 and swap is None:
        swap = -1
    if swap is not None:
        if memory is None:
            memory = files.read_number(directory, "memory.max")
        amount = swap_max(memory, swap)
        # Without the file, "no limit" is true anyway, and "no swap" is true where the host has none.
        if amount <= 0 and not os.path.exists(f"{directory}/memory.swap.max"):
            if amount == 0 and _host_has_swap():
                raise OSError(errno.ENOENT, "the kernel cannot limit swap", f"{directory}/memory.swap.max")
        else:
            _write_bytes(directory, "memory.swap.max", amount)
    if limits.memory is not None:
        _write_bytes(directory, "memory.max", limits.memory)
    if limits.memory_reservation is not None:
        _write_bytes(directory, "memory.low", max(limits.memory_reservation, 0))


def _write_bytes(directory: str, name: str, limit: int) -> None:
    if limit < 0:
        files.write_checked(directory, name, "max")
    else:
        files.write_checked(directory, name, str(limit), str(limit // files.PAGE_SIZE * files.PAGE_SIZE))


def _apply_io(directory: str, limits: Limits) -> None:
    if limits.blkio_weight is not None:
        name, weight = _weight(directory, limits.blkio_weight)
        files.write(directory, name, str(weight))
        _expect_line(directory, name, "default", str(weight))
    for entry in limits.blkio_weight_devices:
        name, weight = _weight(directory, entry.value)
        files.write(directory, name, f"{entry.major}:{entry.minor} {weight}")
        _expect_line(directory, name, f"{entry.major}:{entry.minor}", str(weight))
    for field, key in _IO_MAX_KEYS.items():
        for entry in getattr(limits, field):
            _write_io_max(directory, key, entry)


def _weight(directory: str, weight: int) -> tuple[str, int]:
    converted = io_weight(weight)
    if os.path.exists(f"{directory}/io.bfq.weight"):
        return "io.bfq.weight", weight  # bfq kept version 1's range
    if os.path.exists(f"{directory}/io.weight"):
        return "io.weight", converted
    raise OSError(errno.ENOENT, "the kernel has neither io.bfq.weight nor io.weight", directory)


def _write_io_max(directory: str, key: str, entry: BlockDeviceValue) -> None:
    value = str(entry.value) if entry.value else "max"
    device = f"{entry.major}:{entry.minor}"
    files.write(directory, "io.max", f"{device} {key}={value}")
    lines = [line for line in files.read(directory, "io.max").splitlines() if line.split()[0] == device]
    if value == "max" and not lines:
        return  # a device without any limit is not listed
    if not lines or f"{key}={value}" not in lines[0].split():
        raise files.did_not_take(directory, "io.max", f"{device} {key}={value}", "\n".join(lines))


def _expect_line(directory: str, name: str, key: str, value: str) -> None:
    actual = files.read(directory, name)
    if [key, value] not in [line.split() for line in actual.splitlines()]:
        raise files.did_not_take(directory, name, f"{key} {value}", actual)


def _host_has_swap() -> bool:
    with open("/proc/swaps") as file:
        return len(file.readlines()) > 1
