"""What a container may use and has used, read in the files of its cgroup. cgroups(7).

Both versions have the same rows; only the files differ, and each row says which they are.
"""

from minidock.kernel import cgroups
from minidock.kernel.cgroup_files import read_number, read_optional

MIB = 1 << 20


def path_of(pid: int) -> str:
    """Return the cgroup of a process, as this process sees it, below the root of its hierarchy."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    unified = cgroups.hierarchy().version == 2
    found = (path for _, names, path in rows if ("" if unified else "freezer") in names.split(","))
    return next(found, "/")


def lines(group: cgroups.Cgroup) -> list[str]:
    """Return a row for memory, processes, processors and disks: used, allowed, and the files that say so."""
    used, paths = group.statistics(), group.paths()
    unified = cgroups.UNIFIED in paths and len(paths) == 1
    rows = [
        _row(
            "memory",
            _mib(used.memory_usage),
            f"of {_mib(used.memory_limit)}" if used.memory_limit is not None else "no limit",
            "memory.current, memory.max" if unified else "memory.usage_in_bytes, memory.limit_in_bytes",
        ),
        _row(
            "processes",
            str(used.pids),
            f"of {used.pids_limit}" if used.pids_limit is not None else "no limit",
            "pids.current, pids.max",
        ),
        _row(
            "processors",
            f"{(used.cpu_usage_ns or 0) / 1e9:.3f} s",
            _quota_v2(paths[cgroups.UNIFIED]) if unified else _quota_v1(paths.get("cpu")),
            "cpu.stat, cpu.max" if unified else "cpuacct.usage, cpu.cfs_quota_us",
        ),
    ]
    written = sum(one.value for one in used.block_io_bytes if one.operation in ("read", "write"))
    rows.append(_row("disks", _mib(written), "", "io.stat" if unified else "blkio.throttle.io_service_bytes"))
    kills = group.oom_kills()
    if kills:
        rows.append(f"{kills} killed because the memory was used up")
    return rows


def _row(name: str, used: str, allowed: str, files: str) -> str:
    return f"{name:10} {used:>9} {allowed:34} {files}".rstrip()


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / MIB:.1f} MiB"


def _quota_v1(directory: str | None) -> str:
    quota, period = (read_number(directory, f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    most = _processors(quota, period) if quota is not None and quota > 0 else "no limit"
    return f"{most}, shares {read_number(directory, 'cpu.shares')}"


def _quota_v2(directory: str) -> str:
    quota, _, period = (read_optional(directory, "cpu.max") or "max 100000").partition(" ")
    most = "no limit" if quota == "max" else _processors(int(quota), int(period))
    return f"{most}, weight {read_number(directory, 'cpu.weight')}"


def _processors(quota: int, period: int | None) -> str:
    return f"of {quota / period:.2f} at a time" if period else "no limit"
