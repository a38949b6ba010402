"""One more program in a running container (`exec`): join what init built, then take the same last steps as
init.

Joining is not enough: everything that init took away (capabilities, the seccomp filter, descriptors) must be
taken away again, since this process comes from outside. setns(2) with a pidfd joins all namespaces in one
step.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from minidock.kernel import cgroups, namespaces, process, terminal, trace
from minidock.runtime import bundle, dev, identity, init, launch, program, protocol
from minidock.runtime.report import Steps

# The user namespace is the engine's own; a pid namespace takes effect for children only, so it is joined
# before clone.
_NOT_JOINED_HERE = ("user", "pid")


@dataclass(frozen=True)
class Target:
    """The running container: its init's pid, its spec, its cgroup, and its root directory (O_PATH; -1: by the
    pid).
    """

    pid: int
    spec: bundle.Spec
    cgroup: cgroups.Cgroup | None
    root: int = -1


def start(
    target: Target, what: bundle.Process, descriptors: Sequence[int], seccomp: bytes = b""
) -> launch.Launched:
    """Start `what` in the container and return once it runs; raises LaunchFailed."""
    ours, theirs = protocol.pair()
    pidfd = process.pidfd_open(target.pid)
    join = target.cgroup.join_descriptors() if target.cgroup else []
    root = target.root if target.root >= 0 else os.open(f"/proc/{target.pid}/root", os.O_PATH | os.O_CLOEXEC)

    def child() -> NoReturn:
        steps = Steps(theirs, trace.Trace(None))
        try:
            _run(target, what, descriptors, seccomp, steps, (pidfd, join, root))
        except BaseException as error:  # as in init: nothing above this frame may run in the child
            steps.report(error)
        os._exit(init.SETUP_FAILED)

    try:
        with launch.children_in_pid_namespace(_pid_entry(target), launch.Resources()):
            pid = launch.clone_child((), child)  # inside: the child cannot go back to our pid namespace
        theirs.close()
        return launch.await_program(ours, pid)
    finally:
        protocol.close_all([pidfd, *join])
        if target.root < 0:
            os.close(root)
        theirs.close()
        ours.close()


def _run(
    target: Target,
    what: bundle.Process,
    descriptors: Sequence[int],
    seccomp: bytes,
    step: Steps,
    held: tuple[int, Sequence[int], int],
) -> NoReturn:
    pidfd, join, root = held
    init.close_the_import_system()
    init.become_nobodys_child([step.channel.fileno(), pidfd, root, *join, *descriptors])
    os.setsid()
    with step("join cgroups", cgroups.join_by):
        cgroups.join_by(join)
    with step("set the OOM score", identity.set_oom_score):
        identity.set_oom_score(what)
    with step("join namespaces", namespaces.setns):
        flags = 0
        for entry in target.spec.linux.namespaces:
            if entry.type not in _NOT_JOINED_HERE:
                flags |= namespaces.NAMES[entry.type].flag
        if flags:
            namespaces.setns(pidfd, flags)
    with step("enter the root", os.chroot):
        os.fchdir(root)
        os.chroot(".")
    if what.terminal:
        with step("open the terminal", dev.open_console):
            size = what.console_size or bundle.Box()
            master, slave = dev.open_console(what.user.uid, size.height, size.width)
            protocol.send(step.channel, {"terminal": True}, [master])
            os.close(master)
            terminal.make_controlling(slave)
            descriptors = [slave, slave, slave]
    with step("set limits", identity.set_limits):
        identity.set_limits(what)
    with step("change directory", init.change_directory):
        entered = init.change_directory_as_root(what.cwd)
    protocol.send(step.channel, {"prepared": True})
    with step("change identity", identity.become):
        identity.become(what, seccomp)
    if not entered:
        with step("change directory", init.change_directory):
            init.change_directory(what.cwd)
    step.begin("exec", program.execute)
    program.execute(what.args, init.environment(what), descriptors)


def _pid_entry(target: Target) -> bundle.Spec:
    """A spec that says only: join the container's pid namespace (nothing if it shares the host's)."""
    if bundle.namespace(target.spec, "pid") is None:
        return bundle.Spec()
    entry = bundle.Namespace(type="pid", path=f"/proc/{target.pid}/ns/pid")
    return bundle.Spec(linux=bundle.Linux(namespaces=(entry,)))
