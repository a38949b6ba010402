"""What processes cost in memory: proportional set size, a page shared by n processes counts 1/n (proc(5))."""

from collections.abc import Iterable


def proportional(pids: Iterable[int]) -> int:
    """Return the sum of the PSS of some processes in bytes; one that ended meanwhile counts nothing."""
    return sum(_field(pid, "Pss:") for pid in pids)


def _field(pid: int, name: str) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(row.split()[1]) * 1024 for row in file if row.startswith(name))
    except OSError:
        return 0
