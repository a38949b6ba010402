"""Start a container's init: make its cgroup, clone it into its namespaces, and wait until its program runs.

The caller (a shim, or minidock-runc) is single-threaded and becomes init's parent. Success is silence: the
channel to init ends at execve; otherwise it brings the step that failed. clone(2), pid_namespaces(7).
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from minidock.errors import InvalidParameter, MinidockError, Unsupported
from minidock.kernel import cgroups, devices, namespaces, process, trace
from minidock.runtime import bundle, init, protocol
from minidock.runtime.report import describe

# A cgroup namespace must be made after joining the cgroup, a time namespace works only for the next child.
_NOT_WITH_CLONE = ("cgroup", "time")


class LaunchFailed(MinidockError):
    """Init could not become the program: `step` says where, `errno` is 0 when no system call failed."""

    def __init__(self, step: str, errno: int, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.errno = errno


@dataclass(frozen=True)
class Resources:
    """What a launch is given beside the spec; see init.Inherited. Descriptors stay the caller's."""

    descriptors: Sequence[int] = ()
    rootfs: int = -1
    seccomp: bytes = b""
    namespaces: Mapping[str, int] = field(default_factory=dict)
    mounts: Mapping[str, int] = field(default_factory=dict)
    reap: bool = False
    start_fifo: int = -1
    trace: int = -1


@dataclass(frozen=True)
class Launched:
    """A started program: its pid in the caller's pid namespace, and descriptors that the caller now owns or
    -1.

    `terminal` is the master of its terminal, `root` (O_PATH) the root directory that init made.
    """

    pid: int
    terminal: int
    root: int


def create_cgroup(spec: bundle.Spec) -> cgroups.Cgroup | None:
    """Create the cgroup of `spec` with its limits and device rules; None when the spec names no path.

    A relative path begins at the hierarchy's root.
    """
    path = spec.linux.cgroups_path
    if not path:
        return None
    cgroup = cgroup_at(path)
    cgroup.create()
    try:
        apply_resources(cgroup, spec.linux.resources)
    except BaseException:
        cgroup.delete()
        raise
    return cgroup


def cgroup_at(path: str) -> cgroups.Cgroup:
    """Name the cgroup of a spec's cgroupsPath."""
    try:
        return cgroups.at(path if path.startswith("/") else f"/{path}")
    except ValueError as error:
        raise InvalidParameter(f"config.json: linux.cgroupsPath: {error}") from error


def apply_resources(cgroup: cgroups.Cgroup, wanted: bundle.Resources) -> None:
    """Set the limits of `wanted` on `cgroup`; a limit that does not take raises."""
    cgroup.apply(limits(wanted))
    rules = [_device_rule(access) for access in wanted.devices] or [devices.DeviceRule(False)]
    # Whatever the spec denies, the nodes that every container has may be made and used, as with runc.
    cgroup.restrict_devices([*rules, *devices.DEFAULT_RULES[1:]])


def _device_rule(access: bundle.DeviceAccess) -> devices.DeviceRule:
    """Translate a rule; the specification writes "every number" as -1 or by leaving it out."""
    major, minor = (
        None if number is None or number < 0 else number for number in (access.major, access.minor)
    )
    return devices.DeviceRule(access.allow, access.type or "a", major, minor, access.access or "rwm")


def limits(wanted: bundle.Resources) -> cgroups.Limits:
    """Translate the specification's resources to the kernel's limits; 0 means "not set" where Docker sends it
    so.
    """
    memory, cpu = wanted.memory, wanted.cpu
    return cgroups.Limits(
        memory=memory.limit or None,
        memory_swap=memory.swap or None,
        memory_reservation=memory.reservation or None,
        swappiness=memory.swappiness,
        oom_kill_disable=memory.disable_oom_killer,
        cpu_shares=cpu.shares or None,
        cpu_quota_usec=cpu.quota or None,
        cpu_period_usec=cpu.period or None,
        cpuset_cpus=cpu.cpus or None,
        cpuset_mems=cpu.mems or None,
        pids=wanted.pids.limit or None,
        blkio_weight=wanted.block_io.weight or None,
    )


def start(spec: bundle.Spec, cgroup: cgroups.Cgroup | None, given: Resources) -> Launched:
    """Clone init and return once it is ready (with a start fifo) or has become the program; else
    LaunchFailed.
    """
    if not spec.process.args:
        raise InvalidParameter("config.json: process.args must not be empty")
    if bundle.namespace(spec, "user") is not None and not _is_joined(spec, "user", given):
        raise Unsupported("a new user namespace is not supported yet")
    ours, theirs = protocol.pair()
    join = cgroup.join_descriptors() if cgroup else []
    try:
        paths = cgroup.paths() if cgroup else {}
        v1_paths = {} if set(paths) == {cgroups.UNIFIED} else paths
        inherited = init.Inherited(
            spec=spec,
            channel=theirs,
            descriptors=given.descriptors,
            rootfs=given.rootfs,
            cgroup_descriptors=join,
            cgroup_paths=v1_paths,
            namespaces={kind: fd for kind, fd in given.namespaces.items() if kind != "pid"},
            mounts=given.mounts,
            seccomp=given.seccomp,
            reap=given.reap,
            title_room=process.title_room() if given.reap else (0, 0),
            start_fifo=given.start_fifo,
            trace=given.trace,
        )
        with trace.Trace(given.trace if given.trace >= 0 else None).step(
            "clone init", function=f"{__name__}:start"
        ):
            pid = clone_into(spec, given, lambda: init.run(inherited))
        theirs.close()
        return await_program(ours, pid)
    finally:
        protocol.close_all(join)
        theirs.close()
        ours.close()


def clone_into(spec: bundle.Spec, given: Resources, child: Callable[[], NoReturn]) -> int:
    """Clone a child into the new namespaces of `spec`; it runs `child`. Returns its pid."""
    new = []
    for entry in spec.linux.namespaces:
        if entry.type not in namespaces.NAMES:
            raise Unsupported(f"config.json: linux.namespaces: unknown namespace {entry.type!r}")
        if not entry.path and entry.type not in given.namespaces and entry.type not in _NOT_WITH_CLONE:
            new.append(entry.type)
    if bundle.namespace(spec, "time") is not None:
        namespaces.unshare(namespaces.CLONE_NEWTIME)
    with children_in_pid_namespace(spec, given):
        return clone_child(new, child)


def clone_child(kinds: Sequence[str], child: Callable[[], NoReturn]) -> int:
    """Run `child` in a new process with new namespaces of these `kinds` (OCI names); return its pid.

    It is a child of the caller, who can wait for it and stays in its own namespaces. A kind that does not
    exist is an error, never left out. The child never comes back: when `child` returns or raises anything
    (sys.exit raises too), its process ends.
    """
    flags = 0
    for kind in kinds:
        flags |= namespaces.NAMES[kind].flag
    pid = process.clone(flags)
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    return pid


@contextlib.contextmanager
def children_in_pid_namespace(spec: bundle.Spec, given: Resources) -> Iterator[None]:
    """Let this process's children be born in the pid namespace that `spec` joins; afterwards in its own
    again.
    """
    entry = bundle.namespace(spec, "pid")
    if entry is None or not (entry.path or "pid" in given.namespaces):
        yield
        return
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    joined = given.namespaces.get("pid", -1)
    opened = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC) if joined < 0 else -1
    try:
        namespaces.setns(max(joined, opened), namespaces.CLONE_NEWPID)
        yield
    finally:
        namespaces.setns(own, namespaces.CLONE_NEWPID)
        os.close(own)
        if opened >= 0:
            os.close(opened)


def await_program(channel: socket.socket, pid: int) -> Launched:
    """Wait for the end of the channel, or for readiness; on failure the child is reaped and LaunchFailed
    raised.
    """
    got = {"terminal": -1, "root": -1}
    prepared = False
    while (received := protocol.receive(channel)) is not None:
        message, descriptors = received
        if "ready" in message:
            prepared = True
            break
        if "prepared" in message:
            prepared = True
            continue
        if "error" in message:
            protocol.close_all([descriptor for descriptor in got.values() if descriptor >= 0])
            os.waitpid(pid, 0)
            raise LaunchFailed(message["step"], message["errno"], message["error"])
        for name in message:
            (got[name],) = descriptors
    if not prepared:  # the channel ended, but not by an execve
        protocol.close_all([descriptor for descriptor in got.values() if descriptor >= 0])
        code = process.exit_code(os.waitpid(pid, 0)[1])
        raise LaunchFailed("prepare", 0, f"init was killed (exit code {code}): is the memory limit too low?")
    return Launched(pid, **got)


def _is_joined(spec: bundle.Spec, kind: str, given: Resources) -> bool:
    entry = bundle.namespace(spec, kind)
    return entry is not None and (bool(entry.path) or kind in given.namespaces)


def failure(error: BaseException, step: str) -> LaunchFailed:
    """Return `error` as a LaunchFailed of the launcher's own `step`."""
    if isinstance(error, LaunchFailed):
        return error
    number = error.errno if isinstance(error, OSError) and error.errno else 0
    return LaunchFailed(step, number, describe(error))
