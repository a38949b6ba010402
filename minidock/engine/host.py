"""Facts about the host that do not change while the engine runs: read once, at its start.

uname(2), sysconf(3), os-release(5), cgroups(7).
"""

import os
from dataclasses import dataclass

from minidock.engine import spec_security
from minidock.kernel import cgroups


@dataclass(frozen=True)
class Host:
    """What create, start and info need. `memory` is bytes; `machine` is the kernel's word ("x86_64"), and so
    is `memory_nodes` ("0-1").
    """

    cgroups: cgroups.Hierarchy
    masked_paths: tuple[str, ...]
    boot_id: str
    cpus: int
    memory_nodes: str
    memory: int
    name: str
    machine: str
    kernel: str
    operating_system: str
    os_version: str

    @property
    def cgroup_namespace_mode(self) -> str:
        """Docker's default: private where cgroups are version 2, the host's with version 1."""
        return "private" if self.cgroups.version == 2 else "host"


def examine() -> Host:
    """Look at this machine."""
    system = os.uname()
    release = _os_release()
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    return Host(
        cgroups=cgroups.hierarchy(),
        masked_paths=tuple(spec_security.masked_paths()),
        boot_id=boot_id,
        cpus=os.cpu_count() or 1,
        memory_nodes=_memory_nodes(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        name=system.nodename,
        machine=system.machine,
        kernel=system.release,
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
    )


def _memory_nodes() -> str:
    try:
        with open("/sys/devices/system/node/online", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # a kernel without NUMA has one node
        return "0"


def _os_release() -> dict[str, str]:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            pairs = (line.strip().partition("=") for line in file)
            return {name: value.strip("\"'") for name, _, value in pairs if name}
    except OSError:
        return {}
