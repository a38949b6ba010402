"""Writing limits to the files of cgroups version 1, each in the order in which the kernel takes it.

Documentation/admin-guide/cgroup-v1/{memory,cpusets,blkio-controller,pids}.rst,
Documentation/scheduler/sched-bwc.rst.
"""

import errno
import os
from collections.abc import Mapping

from minidock.kernel import cgroup_files as files
from minidock.kernel.cgroup_model import BlockDeviceValue, Limits

CPU_SHARES_RANGE = range(2, 262144 + 1)

# The kernel counts pages; a limit of "-1" is as many as fit.
_UNLIMITED = (2**63 - 1) // files.PAGE_SIZE * files.PAGE_SIZE

# Field of Limits -> controller and the files of which one must be there.
FILES = {
    "memory": ("memory", ("memory.limit_in_bytes",)),
    "memory_swap": ("memory", ("memory.memsw.limit_in_bytes",)),
    "memory_reservation": ("memory", ("memory.soft_limit_in_bytes",)),
    "swappiness": ("memory", ("memory.swappiness",)),
    "oom_kill_disable": ("memory", ("memory.oom_control",)),
    "cpu_shares": ("cpu", ("cpu.shares",)),
    "cpu_quota_usec": ("cpu", ("cpu.cfs_quota_us",)),
    "cpu_period_usec": ("cpu", ("cpu.cfs_period_us",)),
    "cpuset_cpus": ("cpuset", ("cpuset.cpus",)),
    "cpuset_mems": ("cpuset", ("cpuset.mems",)),
    "pids": ("pids", ("pids.max",)),
    # The first belongs to the bfq scheduler of today, the second to cfq, which left in 5.0.
    "blkio_weight": ("blkio", ("blkio.bfq.weight", "blkio.weight")),
    "blkio_weight_devices": ("blkio", ("blkio.bfq.weight_device", "blkio.weight_device")),
    "read_bytes_per_second": ("blkio", ("blkio.throttle.read_bps_device",)),
    "write_bytes_per_second": ("blkio", ("blkio.throttle.write_bps_device",)),
    "read_operations_per_second": ("blkio", ("blkio.throttle.read_iops_device",)),
    "write_operations_per_second": ("blkio", ("blkio.throttle.write_iops_device",)),
}


def controller(directories: Mapping[str, str], name: str) -> str:
    """Return the cgroup's directory in one controller's hierarchy. OSError(ENODEV): not mounted."""
    if name not in directories:
        raise OSError(errno.ENODEV, f"the cgroup controller {name!r} is not mounted")
    return directories[name]


def supported(directories: Mapping[str, str]) -> frozenset[str]:
    """Name the fields of Limits for which this cgroup has a file."""
    return frozenset(field for field in FILES if _find(directories, field))


def apply(directories: Mapping[str, str], limits: Limits) -> None:
    """Write and read back each limit that is not None."""
    _apply_memory(directories, limits)
    _apply_cpu(directories, limits)
    for field in ("cpuset_mems", "cpuset_cpus"):
        if value := getattr(limits, field):
            files.write_cpu_list(*_file(directories, field), value)
    if limits.pids is not None:
        files.write_checked(*_file(directories, "pids"), "max" if limits.pids < 0 else str(limits.pids))
    _apply_block_io(directories, limits)


def _apply_memory(directories: Mapping[str, str], limits: Limits) -> None:
    memory, swap = limits.memory, limits.memory_swap
    if memory == -1 and swap is None and _find(directories, "memory_swap"):
        swap = -1  # a limit of memory+swap below "unlimited memory" would be refused
    if swap is not None:
        _apply_memory_and_swap(directories, memory, swap)
    elif memory is not None:
        if _find(directories, "memory_swap") and _bytes(memory) > _present(directories, "memory_swap"):
            raise ValueError(
                "Memory limit should be smaller than already set memoryswap limit, "
                "update the memoryswap at the same time"
            )
        _write_bytes(directories, "memory", memory)
    if limits.memory_reservation is not None:
        _write_bytes(directories, "memory_reservation", limits.memory_reservation)
    if limits.swappiness is not None:
        if not 0 <= limits.swappiness <= 100:
            raise ValueError(f"invalid memory swappiness {limits.swappiness}: it is 0 to 100")
        files.write_checked(*_file(directories, "swappiness"), str(limits.swappiness))
    if limits.oom_kill_disable is not None:
        directory, name = _file(directories, "oom_kill_disable")
        files.write(directory, name, str(int(limits.oom_kill_disable)))
        if files.read_pairs(directory, name)["oom_kill_disable"] != limits.oom_kill_disable:
            raise files.did_not_take(
                directory, name, str(limits.oom_kill_disable), files.read(directory, name)
            )


def _apply_memory_and_swap(directories: Mapping[str, str], memory: int | None, swap: int) -> None:
    """Write both limits such that memory <= memory+swap holds at every moment, as the kernel insists."""
    present = _present(directories, "memory_swap")
    wanted_memory = _present(directories, "memory") if memory is None else _bytes(memory)
    if _bytes(swap) < wanted_memory:
        raise ValueError(f"memory+swap limit {swap} is less than the memory limit {wanted_memory}")
    raising = _bytes(swap) > present
    if raising:
        _write_bytes(directories, "memory_swap", swap)
    if memory is not None:
        _write_bytes(directories, "memory", memory)
    if not raising:
        _write_bytes(directories, "memory_swap", swap)


def _apply_cpu(directories: Mapping[str, str], limits: Limits) -> None:
    if limits.cpu_shares is not None:
        if limits.cpu_shares not in CPU_SHARES_RANGE:  # the kernel would clamp it silently
            raise ValueError(f"invalid CPU shares {limits.cpu_shares}: they are 2 to 262144")
        files.write_checked(*_file(directories, "cpu_shares"), str(limits.cpu_shares))
    quota, period = limits.cpu_quota_usec, limits.cpu_period_usec
    steps: list[tuple[str, int]] = []
    if period is not None:
        steps.append(("cpu_period_usec", period))
    if quota is not None:
        steps.append(("cpu_quota_usec", -1 if quota < 0 else quota))
    if len(steps) == 2:
        # Each write is checked against the parent's quota/period: where the new period with the old quota is
        # too much, the new quota with the old period is not.
        try:
            files.write_checked(*_file(directories, "cpu_period_usec"), str(period))
            steps = steps[1:]
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            steps.reverse()
    for field, value in steps:
        files.write_checked(*_file(directories, field), str(value))


def _apply_block_io(directories: Mapping[str, str], limits: Limits) -> None:
    if limits.blkio_weight is not None:
        if not 10 <= limits.blkio_weight <= 1000:
            raise ValueError(f"invalid block I/O weight {limits.blkio_weight}: it is 10 to 1000")
        directory, name = _file(directories, "blkio_weight")
        files.write(directory, name, str(limits.blkio_weight))
        actual = files.read(directory, name)
        if actual.split("\n")[0].split()[-1:] != [str(limits.blkio_weight)]:  # "100" or "default 100"
            raise files.did_not_take(directory, name, str(limits.blkio_weight), actual)
    for field in (
        "blkio_weight_devices",
        "read_bytes_per_second",
        "write_bytes_per_second",
        "read_operations_per_second",
        "write_operations_per_second",
    ):
        for entry in getattr(limits, field):
            _write_device_value(directories, field, entry)


def _write_device_value(directories: Mapping[str, str], field: str, entry: BlockDeviceValue) -> None:
    directory, name = _file(directories, field)
    line = f"{entry.major}:{entry.minor} {entry.value}"
    files.write(directory, name, line)
    actual = files.read(directory, name)
    if (line in actual.splitlines()) != (entry.value != 0):  # 0 takes the line away
        raise files.did_not_take(directory, name, line, actual)


def _find(directories: Mapping[str, str], field: str) -> str | None:
    name, candidates = FILES[field]
    if name not in directories:
        return None
    return next((file for file in candidates if os.path.exists(f"{directories[name]}/{file}")), None)


def _file(directories: Mapping[str, str], field: str) -> tuple[str, str]:
    """Return directory and file of a limit. OSError(ENOENT) names what the kernel lacks."""
    name, candidates = FILES[field]
    directory = controller(directories, name)
    if len(candidates) == 1:
        return directory, candidates[0]  # if it is missing, opening it says so
    found = _find(directories, field)
    if found is None:
        raise OSError(errno.ENOENT, f"the kernel has neither {' nor '.join(candidates)}", directory)
    return directory, found


def _present(directories: Mapping[str, str], field: str) -> int:
    return int(files.read(*_file(directories, field)))


def _bytes(limit: int) -> int:
    """Round a limit as the kernel does: down to whole pages."""
    return _UNLIMITED if limit < 0 else min(limit // files.PAGE_SIZE * files.PAGE_SIZE, _UNLIMITED)


def _write_bytes(directories: Mapping[str, str], field: str, limit: int) -> None:
    value = "-1" if limit < 0 else str(limit)
    files.write_checked(*_file(directories, field), value, str(_bytes(limit)))
