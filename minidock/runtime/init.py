"""The first process of a container, from clone to execve: one ordered function.

The order of the steps is the documentation: each needs what the ones before it made and what the ones after
it take away. Two rules: any error kills the child before the program starts (fail closed), and nothing may be
imported here, since after the root changes `import` would run the image's code as root. OCI runtime
specification, runtime.md.
"""

import os
import select
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from minidock.kernel import cgroups, libc, mounts, namespaces, process, terminal, trace
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
    mounts: Mapping[str, int] = field(default_factory=dict)
    seccomp: bytes = b""
    reap: bool = False
    title_room: tuple[int, int] = (0, 0)  # kernel.process.title_room(), for the one who reaps
    start_fifo: int = -1
    trace: int = -1

    def kept(self) -> list[int]:
        """Return every descriptor that init still needs."""
        single = (self.channel.fileno(), self.rootfs, self.start_fifo, self.trace)
        return [
            *single,
            *self.descriptors,
            *self.cgroup_descriptors,
            *self.namespaces.values(),
            *self.mounts.values(),
        ]


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
    become_nobodys_child(inherited.kept())
    os.setsid()
    with step("join cgroups", cgroups.join_by):
        cgroups.join_by(inherited.cgroup_descriptors)
    with step("set the OOM score", identity.set_oom_score):
        identity.set_oom_score(spec.process)
    with step("join namespaces", enter_namespaces):
        enter_namespaces(spec, inherited.namespaces)
    descriptors = list(inherited.descriptors)
    if spec.root is not None and bundle.namespace(spec, "mount") is not None:
        descriptors = enter_root(inherited, spec.root, step, descriptors)
    elif spec.root is not None:
        with step("enter the root", root.enter_chroot, path=spec.root.path):
            root.enter_chroot(spec.root.path)
    if spec.hostname or spec.domainname:
        with step("set the hostname", set_names, hostname=spec.hostname):
            set_names(spec)
    with step("set limits", identity.set_limits):
        identity.set_limits(spec.process)
    with step("change directory", change_directory, cwd=spec.process.cwd):
        entered = change_directory_as_root(spec.process.cwd)
    if inherited.start_fifo >= 0:
        with step("exec", program.find):  # now, while the one who made the container still listens
            program.find(spec.process.args[0], environment(spec.process))
        wait_for_start(inherited)
    else:
        protocol.send(inherited.channel, {"prepared": True})  # from here on, silence means success
    with step("change identity", identity.become, uid=spec.process.user.uid, gid=spec.process.user.gid):
        identity.become(spec.process, inherited.seccomp)
    if inherited.reap:
        title = reaper.Title(inherited.title_room, spec.process.args)
        descriptors = reaper.fork_program(descriptors, inherited.channel, title)
    if not entered:
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
        # A root that was cloned from a shared mount is its peer: our /proc would appear on the host.
        mounts.mount(None, where.path, None, mounts.MS_SLAVE | mounts.MS_REC)
        tree = os.open(where.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with step(
        "mount file systems", filesystems.mount_all, mounts=[entry.destination for entry in spec.mounts]
    ):
        filesystems.mount_all(tree, spec.mounts, inherited.cgroup_paths, inherited.mounts)
    if dev.is_ours(spec.mounts):
        with step("make devices", dev.populate):
            dev.populate(tree, spec.linux.devices)
    with step("make the working directory", filesystems.directory_for, cwd=spec.process.cwd):
        os.close(filesystems.directory_for(tree, spec.process.cwd))
    with step("protect /proc and /sys", protection.mask):
        protection.write_sysctls(tree, spec.linux.sysctl)
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


def become_nobodys_child(kept: Iterable[int]) -> None:
    """Give up what the shim had and init must not: its descriptors, its umask, its way to hear of signals.

    Otherwise a client that the shim closes would still be open here; and a signal would write a byte into
    whatever has the number of the shim's wake-up pipe by then.
    """
    process.set_dumpable(False)  # nobody in a joined pid namespace may read our memory or /proc/PID/exe
    signal.set_wakeup_fd(-1)
    os.umask(0o022)
    first = program.FIRST_BESIDE_STREAMS
    for number in sorted({descriptor for descriptor in kept if descriptor >= first}):
        if number > first:
            process.close_range(first, number - 1)
        first = number + 1
    process.close_range(first)


def enter_namespaces(spec: bundle.Spec, given: Mapping[str, int]) -> None:
    """Join the namespaces that exist already; make a cgroup namespace, which must follow joining the cgroup.

    The other new ones came with clone(2), and a pid namespace is joined before it: neither can be done here.
    """
    joined, opened = dict[str, int](), []
    try:
        for entry in spec.linux.namespaces:
            if entry.type in given:
                joined[entry.type] = given[entry.type]
            elif entry.path and entry.type != "pid":
                opened.append(os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC))
                joined[entry.type] = opened[-1]
        join_namespaces(joined)
    finally:
        protocol.close_all(opened)
    entry_of_ours = bundle.namespace(spec, "cgroup")
    if entry_of_ours is not None and "cgroup" not in joined:
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)


def join_namespaces(joined: Mapping[str, int]) -> None:
    """Join the namespace behind each descriptor; the keys say of which kind it must be (OCI names).

    OSError when one cannot be joined, or is of another kind: half a container must not run. The descriptors
    stay the caller's.
    """
    for kind, descriptor in joined.items():
        namespaces.setns(descriptor, namespaces.NAMES[kind].flag)


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


def set_names(spec: bundle.Spec) -> None:
    """Set host and domain name of the UTS namespace, each if the spec has one."""
    if spec.hostname:
        socket.sethostname(spec.hostname)
    if spec.domainname:
        name = os.fsencode(spec.domainname)
        libc.syscall("setdomainname", name, len(name), about=spec.domainname)


def change_directory_as_root(path: str) -> bool:
    """Enter the working directory before the identity changes: it may be closed to the program's user.

    False when only that user may enter it (a file system that refuses root).
    """
    try:
        change_directory(path)
    except PermissionError:
        return False
    return True


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
