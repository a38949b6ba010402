"""stats: what a container uses at one moment, together with what the whole machine has used.

A share of the CPU is a quotient of two growths, so a sample carries the machine's CPU time too, read at the
same moment. cgroups(7), proc(5): /proc/stat and /proc/PID/net/dev.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minidock.engine.containers import Container
from minidock.kernel.cgroups import Statistics

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

_COUNTED = 8  # of the columns of "cpu": user to steal; what follows is counted in user already


@dataclass(frozen=True)
class Sample:
    """One reading; `used` is None when the container does not run. `networks`: interface -> Docker's eight
    counters.
    """

    time_ns: int
    used: Statistics | None
    system_cpu_ns: int
    online_cpus: int
    memory_limit: int
    networks: dict[str, dict[str, int]] = field(default_factory=dict)


def sample(engine: Engine, container: Container) -> Sample:
    """Read the counters of the container and of the machine."""
    used = None
    networks: dict[str, dict[str, int]] = {}
    if container.is_running:
        try:
            used = engine.cgroup(container).statistics()
            if container.record.host_config.network_mode != "host":
                networks = interfaces(container.state.pid)
        except OSError:
            pass  # it has just ended
    limit = used.memory_limit if used else None
    return Sample(
        time_ns=time.time_ns(),
        used=used,
        system_cpu_ns=system_cpu_ns(),
        online_cpus=len(os.sched_getaffinity(0)),
        memory_limit=min(limit or engine.host.memory, engine.host.memory),
        networks=networks,
    )


def system_cpu_ns() -> int:
    """Return the CPU time that all CPUs together have spent since the boot, idle time included."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = sum(int(number) for number in file.readline().split()[1 : 1 + _COUNTED])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def interfaces(pid: int) -> dict[str, dict[str, int]]:
    """Return the counters of each interface but lo, in the network namespace of process `pid`."""
    found = {}
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        for line in file.readlines()[2:]:
            name, _, rest = line.partition(":")
            numbers = [int(number) for number in rest.split()]
            if name.strip() != "lo":
                received, sent = numbers[:4], numbers[8:12]
                found[name.strip()] = {
                    f"{way}_{what}": value
                    for way, values in (("rx", received), ("tx", sent))
                    for what, value in zip(("bytes", "packets", "errors", "dropped"), values, strict=True)
                }
    return found
