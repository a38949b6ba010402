"""The first process of a container, from clone to execve: one ordered function.

The order of the steps is the documentation: each needs what the ones before it made and what the ones after
it take away. Two rules: any error kills the child before the program starts (fail closed), and nothing may be
imported here, since after the root changes `import` would run the image's code as root. OCI runtime
specification, runtime.md.
"""

import os
import select
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from minidock.kernel import cgroups, mounts, namespaces, process, terminal, trace
from minidock.runtime import bundle, dev, filesystems, identity, program, protection, protocol, reaper, root
from minidock.runtime.report import Steps

SETUP_FAILED = 128  # never seen by a user: the launcher reports the error instead


@dataclass
class Inherited:
    """What the shim hands to init. `descriptors` are the program's 0-2 (none with a terminal)."""

    spec: bundle.Spec
    channel: socket.socket
    descriptors: Sequence[int] = ()
    rootfs: int = -1
    cgroup_descriptors: Sequence[int] = ()
    cgroup_paths: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, int] = field(default_factory=dict)
    seccomp: bytes = b""
    reap: bool = False
    start_fifo: int = -1
    trace: int = -1


def run(inherited: Inherited) -> NoReturn:
    """Do all steps in their order and become the program; on an error, report the step and exit."""
    steps = Steps(inherited.channel, trace.Trace(inherited.trace if inherited.trace >= 0 else None))
    try:
        _run(inherited, steps)
    except (
        BaseException
    ) as error:  # nothing above this frame may run in the child: not even the handler of SystemExit
        steps.report(error)
    os._exit(SETUP_FAILED)


def _run(inherited: Inherited, step: Steps) -> NoReturn:
    spec = inherited.spec
    close_the_import_system()
    process.set_dumpable(False)  # nobody in a joined pid namespace may read our memory or /proc/PID/exe
    os.setsid()
    with step("join cgroups", cgroups.join_by):
        cgroups.join_by(inherited.cgroup_descriptors)
    with step("join namespaces", enter_namespaces):
        enter_namespaces(spec, inherited.namespaces)
    descriptors = list(inherited.descriptors)
    if spec.root is not None and bundle.namespace(spec, "mount") is not None:
        descriptors = enter_root(inherited, spec.root, step, descriptors)
    if spec.hostname:
        with step("set the hostname", socket.sethostname, hostname=spec.hostname):
            socket.sethostname(spec.hostname)
    with step("set limits", identity.set_limits):
        identity.set_limits(spec.process)
    if inherited.start_fifo >= 0:
        wait_for_start(inherited)
    with step("change identity", identity.become, uid=spec.process.user.uid, gid=spec.process.user.gid):
        identity.become(spec.process, inherited.seccomp)
    if inherited.reap:
        descriptors = reaper.fork_program(descriptors, inherited.channel)
    with step("change directory", change_directory, cwd=spec.process.cwd):
        change_directory(spec.process.cwd)
    step.begin("exec", program.execute, arguments=list(spec.process.args))
    program.execute(spec.process.args, environment(spec.process), descriptors)


def enter_root(inherited: Inherited, where: bundle.Root, step: Steps, descriptors: list[int]) -> list[int]:
    """Build the container's tree below `where` and make it the root; return the program's descriptors."""
    spec = inherited.spec
    with step("isolate the mounts", root.isolate_mounts):
        null = protection.host_null()
        root.isolate_mounts()
    with step("attach the root", root.attach_root, path=where.path):
        root.attach_root(where.path, inherited.rootfs)
        tree = os.open(where.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with step(
        "mount file systems", filesystems.mount_all, mounts=[entry.destination for entry in spec.mounts]
    ):
        filesystems.mount_all(tree, spec.mounts, inherited.cgroup_paths)
    if dev.is_ours(spec.mounts):
        with step("make devices", dev.populate):
            dev.populate(tree, spec.linux.devices)
    with step("make the working directory", filesystems.directory_for, cwd=spec.process.cwd):
        os.close(filesystems.directory_for(tree, spec.process.cwd))
    with step("protect /proc and /sys", protection.mask):
        protection.write_sysctls(spec.linux.sysctl)
        protection.make_readonly(tree, spec.linux.readonly_paths)
        protection.mask(tree, spec.linux.masked_paths, null)
    with step("enter the root", root.enter, path=where.path):
        root.enter(where.path)
    if spec.process.terminal:
        with step("open the terminal", dev.open_console):
            descriptors = open_terminal(inherited)
    with step("finish the root", finish_root):
        finish_root(spec, where)
    send_root(inherited.channel)
    return descriptors


def close_the_import_system() -> None:
    """Make every later `import` fail: the files it would find belong to the image."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()


def enter_namespaces(spec: bundle.Spec, given: Mapping[str, int]) -> None:
    """Join the namespaces that exist already; make a cgroup namespace, which must follow joining the cgroup.

    The other new ones came with clone(2), and a pid namespace is joined before it: neither can be done here.
    """
    for entry in spec.linux.namespaces:
        kind = entry.type
        if kind in given:
            namespaces.setns(given[kind], namespaces.NAMES[kind].flag)
        elif entry.path and kind != "pid":
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                namespaces.setns(descriptor, namespaces.NAMES[kind].flag)
            finally:
                os.close(descriptor)
        elif kind == "cgroup":
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)


def open_terminal(inherited: Inherited) -> list[int]:
    """Open the container's terminal, send its master to the shim, and return the program's descriptors."""
    size = inherited.spec.process.console_size or bundle.Box()
    master, slave = dev.open_console(inherited.spec.process.user.uid, size.height, size.width)
    if dev.is_ours(inherited.spec.mounts):
        dev.bind_console(slave)
    protocol.send(inherited.channel, {"terminal": True}, [master])
    os.close(master)
    terminal.make_controlling(slave)
    return [slave, slave, slave]


def finish_root(spec: bundle.Spec, where: bundle.Root) -> None:
    """Give the root mount its final propagation and make it read-only where asked."""
    name = spec.linux.rootfs_propagation
    if name:
        options = filesystems.Options((name,))
        mounts.mount(None, "/", None, options.propagation)
    if where.readonly:
        mounts.mount_setattr(mounts.AT_FDCWD, "/", set=mounts.MOUNT_ATTR_RDONLY)


def send_root(channel: socket.socket) -> None:
    """Give the shim the root directory: a program may end, or call chroot, before /proc/PID/root could be
    opened.
    """
    descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    protocol.send(channel, {"root": True}, [descriptor])
    os.close(descriptor)


def wait_for_start(inherited: Inherited) -> None:
    """Say that everything is ready, and block until somebody writes to the start fifo (`start` of runc)."""
    protocol.send(inherited.channel, {"ready": True})
    waiting = select.poll()
    waiting.register(inherited.start_fifo, select.POLLIN)
    waiting.poll()


def change_directory(path: str) -> None:
    """Enter the working directory and prove that it lies inside the root (a leaked descriptor could lead
    out).
    """
    os.chdir(path or "/")
    if not os.getcwd().startswith("/"):  # the kernel says "(unreachable)/..." of a directory outside the root
        raise OSError(f"current working directory {path} is outside of the container's mount namespace root")


def environment(spec: bundle.Process) -> dict[str, str]:
    """Return the program's environment: the spec's, and nothing else; an entry without `=` is left out."""
    entries = (entry.partition("=") for entry in spec.env)
    return {name: value for name, separator, value in entries if name and separator}
