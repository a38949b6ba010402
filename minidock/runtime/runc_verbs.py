"""The verbs of minidock-runc over launch and execute: each takes the words after its name and returns an exit
status.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from minidock.errors import Conflict, InvalidParameter, NotFound
from minidock.kernel import process, seccomp
from minidock.runtime import bundle, execute, launch, logs, runc_console, runc_state
from minidock.runtime.runc_options import Options, parse

KILL_SECONDS = 10.0


def run(settings: dict[str, str], words: Sequence[str]) -> int:
    """Run the command `words` on the containers below settings["root"]."""
    verbs: dict[str, Callable[[str, Options], int]] = {
        "create": create,
        "start": start,
        "run": run_container,
        "state": state,
        "kill": kill,
        "delete": delete,
        "exec": exec_process,
        "list": list_containers,
    }
    if not words or words[0] not in verbs:
        raise InvalidParameter(f"no such command: {words[0] if words else ''}")
    return verbs[words[0]](settings["root"], parse(words[0], words[1:]))


def create(root: str, options: Options) -> int:
    """Make the container; its program waits for `start`."""
    make(root, options)
    return 0


def run_container(root: str, options: Options) -> int:
    """Create and start; unless detached, forward signals, wait, delete, and return the program's exit
    code.
    """
    process.set_subreaper()
    with runc_console.foreground(options) as console:
        made = make(root, options, console)
        release(root, made)
        if options.detach:
            return 0
        code = console.wait(made.pid)
    remove(root, made)
    return code


def make(root: str, options: Options, console: "runc_console.Console | None" = None) -> runc_state.State:
    """Launch init up to its start fifo and record it; on failure nothing is left."""
    directory = os.path.abspath(options.bundle or ".")
    spec = bundle.load(directory)
    if not spec.process.args:
        raise InvalidParameter("config.json: process.args must not be empty")
    if not spec.linux.cgroups_path:
        spec = with_cgroup(spec, f"/{options.identifier}")
    with contextlib.ExitStack() as undo:
        state_directory = runc_state.reserve(root, options.identifier)
        undo.callback(runc_state.forget, root, options.identifier)
        cgroup = launch.create_cgroup(spec)
        assert cgroup is not None
        undo.callback(cgroup.delete)
        fifo = os.open(
            os.path.join(state_directory, runc_state.FIFO), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )
        program = seccomp.compile_filter(spec.linux.seccomp) if spec.linux.seccomp else b""
        descriptors = [] if spec.process.terminal else [0, 1, 2]
        given = launch.Resources(descriptors=descriptors, seccomp=program, start_fifo=fifo)
        launched = launch.start(spec, cgroup, given)
        os.close(fifo)
        undo.callback(_kill_quietly, launched.pid)
        if launched.terminal >= 0:
            runc_console.hand_over(launched.terminal, options.console_socket, console)
        made = runc_state.State(
            id=options.identifier,
            bundle=directory,
            pid=launched.pid,
            start_time=process.start_time(launched.pid),
            created=logs.timestamp(time.time_ns()),
            cgroup=spec.linux.cgroups_path,
            rootfs=spec.root.path if spec.root else "",
            annotations=spec.annotations,
        )
        runc_state.save(root, made)
        if options.pid_file:
            _write_pid(options.pid_file, launched.pid)
        undo.pop_all()
    return made


def start(root: str, options: Options) -> int:
    """Let the program of a created container begin."""
    found = runc_state.load(root, options.identifier)
    if runc_state.status(root, found) != "created":
        raise Conflict(f"cannot start a container that is {runc_state.status(root, found)}")
    release(root, found)
    return 0


def release(root: str, found: runc_state.State) -> None:
    """Write to the start fifo: init goes on. The fifo's absence marks the container as started."""
    path = os.path.join(runc_state.directory(root, found.id), runc_state.FIFO)
    fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.unlink(path)
    os.write(fifo, b"0")
    os.close(fifo)


def state(root: str, options: Options) -> int:
    """Print the OCI state document."""
    sys.stdout.write(json.dumps(document(root, runc_state.load(root, options.identifier)), indent=2) + "\n")
    return 0


def document(root: str, found: runc_state.State) -> dict[str, object]:
    """Return the OCI state of a container (runtime specification, "State")."""
    status = runc_state.status(root, found)
    return {
        "ociVersion": "1.0.2",
        "id": found.id,
        "pid": found.pid if status != "stopped" else 0,
        "status": status,
        "bundle": found.bundle,
        "rootfs": found.rootfs,
        "created": found.created,
        "annotations": found.annotations,
        "owner": "",
    }


def kill(root: str, options: Options) -> int:
    """Send a signal to init, or with --all to every process of the container's cgroup."""
    found = runc_state.load(root, options.identifier)
    number = signal_number(options.arguments[0] if options.arguments else "TERM")
    if options.all:
        for pid in launch.cgroup_at(found.cgroup).processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return 0
    if not found.is_alive:
        raise Conflict("container not running")
    os.kill(found.pid, number)
    return 0


def signal_number(name: str) -> int:
    """Return the number of a signal given as number, TERM or SIGTERM."""
    if name.isdecimal() and int(name) in signal.valid_signals():
        return int(name)
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError as error:
        raise InvalidParameter(f"unknown signal {name!r}") from error


def delete(root: str, options: Options) -> int:
    """Remove a stopped (or, with --force, any) container."""
    try:
        found = runc_state.load(root, options.identifier)
    except NotFound:
        if options.force:
            return 0
        raise
    if found.is_alive:
        if not options.force and runc_state.status(root, found) == "running":
            raise Conflict(f"cannot delete container {found.id} that is not stopped: running")
        _kill_quietly(found.pid)
    remove(root, found)
    return 0


def remove(root: str, found: runc_state.State) -> None:
    """Take away the cgroup and the directory of a container that has ended."""
    cgroup = launch.cgroup_at(found.cgroup)
    if cgroup.exists():
        cgroup.kill()
        cgroup.delete()
    runc_state.forget(root, found.id)


def exec_process(root: str, options: Options) -> int:
    """Run one more program in the container; unless detached, wait for it and return its exit code."""
    found = runc_state.load(root, options.identifier)
    if runc_state.status(root, found) != "running":
        raise Conflict(f"cannot exec in a {runc_state.status(root, found)} container")
    spec = bundle.load(found.bundle)
    what = exec_spec(spec, options)
    cgroup = launch.cgroup_at(found.cgroup)
    program = seccomp.compile_filter(spec.linux.seccomp) if spec.linux.seccomp else b""
    process.set_subreaper()
    with runc_console.foreground(options) as console:
        descriptors = [] if what.terminal else [0, 1, 2]
        launched = execute.start(execute.Target(found.pid, spec, cgroup), what, descriptors, program)
        if launched.terminal >= 0:
            runc_console.hand_over(launched.terminal, options.console_socket, console)
        if options.pid_file:
            _write_pid(options.pid_file, launched.pid)
        return 0 if options.detach else console.wait(launched.pid)


def exec_spec(spec: bundle.Spec, options: Options) -> bundle.Process:
    """Return the process to execute: a file's, or the container's own with the command line's changes."""
    if options.process:
        with open(options.process, "rb") as file:
            document = b'{"process":' + file.read() + b"}"
        return bundle.parse(document).process
    changes: dict[str, object] = {
        "args": tuple(options.arguments),
        "terminal": options.tty,
        "env": (*spec.process.env, *options.env),
        "cwd": options.cwd or spec.process.cwd,
    }
    if options.user:
        uid, _, gid = options.user.partition(":")
        if not (uid.isdecimal() and (gid or "0").isdecimal()):
            raise InvalidParameter(f"invalid user {options.user!r}: it is UID or UID:GID")
        changes["user"] = bundle.User(uid=int(uid), gid=int(gid or 0))
    return msgspec.structs.replace(spec.process, **changes)


def list_containers(root: str, options: Options) -> int:
    """List the containers, as a table, JSON, or ids."""
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    documents = []
    for name in names:
        with contextlib.suppress(NotFound):
            documents.append(document(root, runc_state.load(root, name)))
    if options.format == "json":
        sys.stdout.write(json.dumps(documents) + "\n")
    elif options.quiet:
        sys.stdout.writelines(f"{found['id']}\n" for found in documents)
    else:
        sys.stdout.write(f"{'ID':<20}{'PID':<10}{'STATUS':<10}{'BUNDLE':<40}CREATED\n")
        for found in documents:
            sys.stdout.write("{id:<20}{pid:<10}{status:<10}{bundle:<40}{created}\n".format(**found))
    return 0


def with_cgroup(spec: bundle.Spec, path: str) -> bundle.Spec:
    """Return `spec` with the cgroup path that the runtime chooses when the bundle names none."""
    return msgspec.structs.replace(spec, linux=msgspec.structs.replace(spec.linux, cgroups_path=path))


def _kill_quietly(pid: int) -> None:
    """Kill and wait until the process is gone, whether or not it is our child."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = process.pidfd_open(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + KILL_SECONDS
        while not process.has_exited(pidfd) and time.monotonic() < deadline:
            time.sleep(0.001)
        os.close(pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _write_pid(path: str, pid: int) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(str(pid))
