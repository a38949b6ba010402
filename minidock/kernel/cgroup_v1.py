"""Control groups version 1: one tree per controller, and a container's cgroup is a directory in each of them.

That the trees are independent shaped all of this: a parent may be missing in one tree only, cpuset starts
empty and must be filled from the parent, memory and memory+swap must be raised and lowered in the right
order, and there is no "kill all": the freezer stands in. cgroups(7), Documentation/admin-guide/cgroup-v1/.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from minidock.kernel import cgroup_files as files
from minidock.kernel import cgroup_v1_limits as limits_v1
from minidock.kernel import cgroup_v1_statistics as statistics_v1
from minidock.kernel.cgroup_model import UNIFIED, Limits, Statistics
from minidock.kernel.devices import DeviceRule, reduce

FREEZE_TIMEOUT = 10.0
KILL_FREEZE_TIMEOUT = 0.2  # in kill, a process that cannot be frozen must not save the others


class CgroupV1:
    """One cgroup, in every version 1 hierarchy and, on a hybrid host, in the version 2 tree."""

    def __init__(self, path: str, mounts: Mapping[str, str]) -> None:
        self.path = path
        self._roots = dict(mounts)
        self._directories = {name: root + path for name, root in mounts.items()}

    def paths(self) -> dict[str, str]:
        return dict(self._directories)

    def create(self, exist_ok: bool = False) -> None:
        made: list[str] = []
        try:
            # cpu and cpuacct are often one hierarchy under two names: each directory is made once.
            for directory, root in dict(
                zip(self._directories.values(), self._roots.values(), strict=True)
            ).items():
                while not files.make(directory, root):
                    if exist_ok:
                        break
                    files.remove([directory], timeout=0)
                else:
                    made.append(directory)
            if cpuset := self._directories.get("cpuset"):
                _inherit_cpuset(cpuset, self._roots["cpuset"])
        except BaseException:
            with suppress(OSError):
                files.remove(made)
            raise

    def exists(self) -> bool:
        return any(os.path.isdir(directory) for directory in self._directories.values())

    def supported(self) -> frozenset[str]:
        return limits_v1.supported(self._directories)

    def apply(self, limits: Limits) -> None:
        limits_v1.apply(self._directories, limits)

    def restrict_devices(self, rules: Sequence[DeviceRule]) -> None:
        directory = limits_v1.controller(self._directories, "devices")
        policy = reduce(rules)
        # "a" also clears the exceptions of an earlier call.
        files.write(directory, "devices.allow" if policy.allow else "devices.deny", "a")
        exceptions = [str(rule) for rule in policy.exceptions]
        files.write(directory, "devices.deny" if policy.allow else "devices.allow", *exceptions)
        # A policy that allows by default lists no exceptions, so only its first line can be compared.
        expected = {"a *:* rwm"} if policy.allow else set(exceptions)
        actual = files.read(directory, "devices.list")
        if set(actual.splitlines()) != expected:
            raise files.did_not_take(directory, "devices.list", "\n".join(sorted(expected)), actual)

    def join(self, pid: int = 0) -> None:
        for directory in dict.fromkeys(self._directories.values()):
            files.write(directory, "cgroup.procs", str(pid))

    def join_descriptors(self) -> list[int]:
        """Open `tasks`, not `cgroup.procs`: moving just oneself takes no lock over all processes of the host.

        Measured on 6.18: "0" to cgroup.procs waits 5 to 15 ms for an RCU grace period, "0" to tasks 0.03 ms.
        The version 2 tree has no such file and limits nothing here, so it is left to clone_descriptor.
        """
        names = (name for name in self._directories if name != UNIFIED)
        return _open_all(dict.fromkeys(f"{self._directories[name]}/tasks" for name in names))

    def clone_descriptor(self) -> int | None:
        directory = self._directories.get(UNIFIED)
        return None if directory is None else os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def freeze(self, timeout: float = FREEZE_TIMEOUT) -> None:
        directory = limits_v1.controller(self._directories, "freezer")
        deadline = time.monotonic() + timeout
        pause = 0.0002
        while True:
            # Written again each time: a process forked while freezing may be missed by the first write.
            files.write(directory, "freezer.state", "FROZEN")
            if files.read(directory, "freezer.state") == "FROZEN":
                return
            if time.monotonic() > deadline:
                self.thaw()
                raise TimeoutError(f"cgroup {self.path} did not freeze within {timeout} s")
            time.sleep(pause)
            pause = min(pause * 2, 0.01)

    def thaw(self) -> None:
        directory = limits_v1.controller(self._directories, "freezer")
        files.write_checked(directory, "freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        return files.read(limits_v1.controller(self._directories, "freezer"), "freezer.state") != "THAWED"

    def kill(self) -> None:
        """Freeze, signal and thaw, until a round meets nobody new: a frozen process cannot fork.

        A process takes its SIGKILL when it is thawed.
        """
        killed: set[int] = set()
        while living := set(self.processes()) - killed:
            with suppress(TimeoutError):
                self.freeze(KILL_FREEZE_TIMEOUT)
            try:
                living = set(self.processes())
                for pid in living:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            finally:
                self.thaw()
            killed |= living

    def processes(self) -> list[int]:
        return files.processes(limits_v1.controller(self._directories, "freezer"))

    def statistics(self) -> Statistics:
        return statistics_v1.read(self._directories)

    def oom_kills(self) -> int:
        """Version 1 counts in the victim's own cgroup, so those below are added up."""
        directory = limits_v1.controller(self._directories, "memory")
        counters = (files.read_pairs(cgroup, "memory.oom_control") for cgroup in files.descendants(directory))
        return sum(pairs.get("oom_kill", 0) for pairs in counters)

    def delete(self) -> None:
        files.remove(list(dict.fromkeys(self._directories.values())))


def _inherit_cpuset(directory: str, root: str) -> None:
    """Give a new cpuset the CPUs and memory nodes of its parent: with none, nobody can join it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if files.read(directory, name):
            continue
        parent = os.path.dirname(directory)
        if parent != root and not files.read(parent, name):  # another process has only just made it
            _inherit_cpuset(parent, root)
        files.write_cpu_list(directory, name, files.read(parent, name))


def _open_all(paths: Sequence[str] | dict[str, None]) -> list[int]:
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors
