"""Reading what a cgroup version 1 has used, out of the files of five controllers.

Documentation/admin-guide/cgroup-v1/{memory,cpuacct,pids,blkio-controller}.rst.
"""

from collections.abc import Mapping

from minidock.kernel import cgroup_files as files
from minidock.kernel.cgroup_model import BlockIO, Statistics

# Limits above this are "unlimited": the kernel prints the largest whole page below 2**63.
_UNLIMITED = 2**62


def read(directories: Mapping[str, str]) -> Statistics:
    """Read every counter that this kernel has."""
    memory, cpuacct = directories.get("memory"), directories.get("cpuacct")
    pids, blkio = directories.get("pids"), directories.get("blkio")
    limit = files.read_number(memory, "memory.limit_in_bytes")
    throttling = files.read_pairs(directories.get("cpu"), "cpu.stat")
    per_cpu = files.read_optional(cpuacct, "cpuacct.usage_percpu") or ""
    return Statistics(
        memory_usage=files.read_number(memory, "memory.usage_in_bytes"),
        memory_max_usage=files.read_number(memory, "memory.max_usage_in_bytes"),
        memory_limit=None if limit is None or limit > _UNLIMITED else limit,
        memory_failures=files.read_number(memory, "memory.failcnt"),
        memory=files.read_pairs(memory, "memory.stat"),
        cpu_usage_ns=files.read_number(cpuacct, "cpuacct.usage"),
        cpu_user_ns=files.read_number(cpuacct, "cpuacct.usage_user"),
        cpu_system_ns=files.read_number(cpuacct, "cpuacct.usage_sys"),
        cpu_per_cpu_ns=tuple(int(number) for number in per_cpu.split()),
        cpu_periods=throttling.get("nr_periods"),
        cpu_throttled_periods=throttling.get("nr_throttled"),
        cpu_throttled_ns=throttling.get("throttled_time"),
        pids=files.read_number(pids, "pids.current"),
        pids_limit=files.read_number(pids, "pids.max"),
        block_io_bytes=_block_io(blkio, "io_service_bytes_recursive"),
        block_io_operations=_block_io(blkio, "io_serviced_recursive"),
    )


def _block_io(directory: str | None, name: str) -> tuple[BlockIO, ...]:
    """Read lines of "8:0 Read 4096"; the last line, "Total 4096", is the sum over all devices."""
    text = files.read_optional(directory, f"blkio.throttle.{name}") or ""
    counters: list[BlockIO] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3:
            major, minor = fields[0].split(":")
            counters.append(BlockIO(int(major), int(minor), fields[1].lower(), int(fields[2])))
    return tuple(counters)
