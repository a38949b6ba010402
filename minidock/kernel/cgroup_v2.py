"""Control groups version 2: one tree, where a controller must be handed down from parent to child.

That shaped create(): each ancestor has to list the controllers in cgroup.subtree_control before the child has
any limit files, and an ancestor that does so may hold no processes itself.
Documentation/admin-guide/cgroup-v2.rst.
"""

import errno
import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from minidock.kernel import bpf_devices
from minidock.kernel import cgroup_files as files
from minidock.kernel import cgroup_v2_limits as limits_v2
from minidock.kernel.cgroup_model import UNIFIED, BlockIO, Limits, Statistics
from minidock.kernel.devices import DeviceRule, reduce

FREEZE_TIMEOUT = 10.0
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")


class CgroupV2:
    """One cgroup in the unified hierarchy mounted at `root`."""

    def __init__(self, path: str, root: str) -> None:
        self.path = path
        self._root = root
        self._directory = root + path

    def paths(self) -> dict[str, str]:
        return {UNIFIED: self._directory}

    def create(self, exist_ok: bool = False) -> None:
        while not files.make(self._directory, self._root):
            if exist_ok:
                break
            files.remove([self._directory], timeout=0)
        try:
            self._hand_down_controllers()
        except BaseException:
            if not exist_ok:
                with suppress(OSError):
                    files.remove([self._directory])
            raise

    def exists(self) -> bool:
        return os.path.isdir(self._directory)

    def supported(self) -> frozenset[str]:
        return limits_v2.supported(self._directory)

    def apply(self, limits: Limits) -> None:
        limits_v2.apply(self._directory, limits)

    def restrict_devices(self, rules: Sequence[DeviceRule]) -> None:
        bpf_devices.replace(self._directory, bpf_devices.assemble(reduce(rules)))

    def join(self, pid: int = 0) -> None:
        files.write(self._directory, "cgroup.procs", str(pid))

    def join_descriptors(self) -> list[int]:
        return [os.open(f"{self._directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)]

    def clone_descriptor(self) -> int | None:
        """Being born in the cgroup spares the 5 to 15 ms that a move waits for an RCU grace period (6.18)."""
        return os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def freeze(self) -> None:
        files.write_checked(self._directory, "cgroup.freeze", "1")
        deadline = time.monotonic() + FREEZE_TIMEOUT
        events = os.open(f"{self._directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            # The file is read before each wait: poll(2) reports changes since the last read only.
            while b"frozen 1" not in os.pread(events, 4096, 0).splitlines():
                if (left := deadline - time.monotonic()) <= 0:
                    self.thaw()
                    raise TimeoutError(f"cgroup {self.path} did not freeze within {FREEZE_TIMEOUT} s")
                poll.poll(left * 1000)
        finally:
            os.close(events)

    def thaw(self) -> None:
        files.write_checked(self._directory, "cgroup.freeze", "0")

    def is_frozen(self) -> bool:
        return files.read(self._directory, "cgroup.freeze") == "1"

    def kill(self) -> None:
        """Write cgroup.kill (since 5.14): one step for the kernel, and a frozen process dies of it too."""
        try:
            files.write(self._directory, "cgroup.kill", "1")
        except OSError:
            if self.exists():
                raise

    def processes(self) -> list[int]:
        return files.processes(self._directory)

    def statistics(self) -> Statistics:
        directory = self._directory
        cpu = files.read_pairs(directory, "cpu.stat")
        return Statistics(
            memory_usage=files.read_number(directory, "memory.current"),
            memory_max_usage=files.read_number(directory, "memory.peak"),
            memory_limit=files.read_number(directory, "memory.max"),
            memory_failures=files.read_pairs(directory, "memory.events").get("max"),
            memory=files.read_pairs(directory, "memory.stat"),
            cpu_usage_ns=_nanoseconds(cpu.get("usage_usec")),
            cpu_user_ns=_nanoseconds(cpu.get("user_usec")),
            cpu_system_ns=_nanoseconds(cpu.get("system_usec")),
            cpu_per_cpu_ns=(),
            cpu_periods=cpu.get("nr_periods"),
            cpu_throttled_periods=cpu.get("nr_throttled"),
            cpu_throttled_ns=_nanoseconds(cpu.get("throttled_usec")),
            pids=files.read_number(directory, "pids.current"),
            pids_limit=files.read_number(directory, "pids.max"),
            block_io_bytes=_block_io(directory, {"rbytes": "read", "wbytes": "write", "dbytes": "discard"}),
            block_io_operations=_block_io(directory, {"rios": "read", "wios": "write", "dios": "discard"}),
        )

    def oom_kills(self) -> int:
        events = files.read_pairs(self._directory, "memory.events")
        if not events:
            raise OSError(
                errno.ENOENT, "no memory controller in this cgroup", f"{self._directory}/memory.events"
            )
        return events.get("oom_kill", 0)

    def delete(self) -> None:
        files.remove([self._directory])

    def _hand_down_controllers(self) -> None:
        """List the controllers in cgroup.subtree_control of every ancestor, from the root down."""
        directory = self._root
        for part in self.path.split("/")[1:]:
            available = files.read(directory, "cgroup.controllers").split()
            enabled = files.read(directory, "cgroup.subtree_control").split()
            missing = [name for name in CONTROLLERS if name in available and name not in enabled]
            if missing:
                _enable(directory, missing)
            directory = f"{directory}/{part}"


def _enable(directory: str, controllers: Sequence[str]) -> None:
    try:
        files.write(directory, "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
    except OSError as error:
        if error.errno == errno.EBUSY:
            error.add_note(
                f"processes {files.read(directory, 'cgroup.procs').split()} are in {directory} itself: "
                "version 2 allows them only in the leaves of the tree"
            )
        raise


def _nanoseconds(usec: int | None) -> int | None:
    return None if usec is None else usec * 1000


def _block_io(directory: str, names: dict[str, str]) -> tuple[BlockIO, ...]:
    """Read io.stat: lines of "8:0 rbytes=4096 wbytes=0 ..."."""
    counters: list[BlockIO] = []
    for line in (files.read_optional(directory, "io.stat") or "").splitlines():
        device, *pairs = line.split()
        major, minor = device.split(":")
        values = dict(pair.split("=") for pair in pairs)
        counters += [
            BlockIO(int(major), int(minor), operation, int(values[key]))
            for key, operation in names.items()
            if key in values
        ]
    return tuple(counters)
