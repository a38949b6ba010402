"""One container's keeper: it starts init, carries its streams, writes its log, and records how it ended.

It survives the daemon, and that is why it exists. It alone writes exit.json. The end has a fixed order: reap;
kill what is left in the cgroup; drain the streams for at most 2 s; write the log; exit.json; close the
clients; report. It is a subreaper: a program of the container that loses its parent in a shared pid namespace
still has one. prctl(2).
"""

import contextlib
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import msgspec

from minidock import atomic
from minidock.kernel import cgroups, process, trace
from minidock.runtime import bundle, control, launch, logs, protocol, relay
from minidock.runtime.carrier import Carrier
from minidock.runtime.control import DRAIN_SECONDS
from minidock.runtime.loop import READ, Loop
from minidock.runtime.protocol import Message
from minidock.runtime.requests import STDIN_NONE, STDIN_ONCE, AttachClient, LogOptions, unpack

FAREWELL_SECONDS = 10.0  # how long a client that does not read may keep the shim after the container's end
OOM_SCORE = -999


class Shim:
    """The state of one run. Call `start`, then `serve` until the container has ended."""

    def __init__(self, message: Message, received: dict[str, int], oom_score: int) -> None:
        self.identifier: str = message["identifier"]
        self.directory: str = message["directory"]
        self.socket_directory: str = message["socket_directory"]
        self.loop = Loop()
        self.cgroup: cgroups.Cgroup | None = None
        spec = bundle.parse(os.pread(received["spec"], bundle.MAXIMUM_SIZE, 0))
        self.spec = _with_oom_score(spec, oom_score)
        self.pid = self.root = self.start_time = -1
        self.listeners: list[socket.socket] = []
        self.exit_code: int | None = None
        self.execs = control.Execs(self)
        self.relay = relay.Relay(self.loop)
        self.trace = trace.Trace(received.get("trace"))
        self._message = message
        self._received = received
        log = LogOptions(**message["log"])
        writer = logs.Writer(log.path, log.max_size, log.max_file) if log.driver == "json-file" else None
        self.carrier = Carrier(self.loop, writer, message["stdin"] == STDIN_ONCE)
        self._doors = control.Doors(self)
        self.listen(socket.socket(fileno=received["events"]))

    def start(self) -> None:
        """Start init; raises LaunchFailed with everything undone."""
        process.set_subreaper()
        self._watch_children()
        for index, client in enumerate(self._message["clients"]):
            self.carrier.attach(
                AttachClient.from_message(client, self._received[f"client{index}"]), waiting=True
            )
        with contextlib.ExitStack() as undo:
            os.makedirs(self.socket_directory, mode=0o700, exist_ok=True)
            undo.callback(_remove_if_empty, self.socket_directory)
            self._doors.open()
            undo.callback(self._doors.close)
            with self.trace.step("create the cgroup", function=f"{launch.__name__}:create_cgroup"):
                self.cgroup = launch.create_cgroup(self.spec)
            if self.cgroup is not None:
                undo.callback(self._remove_cgroup)
            undo.callback(self._kill_init)
            self._launch()
            self.start_time = process.start_time(self.pid)
            undo.pop_all()
        self.report({"event": "started", "pid": self.pid, "start_time": self.start_time})

    def _launch(self) -> None:
        """Give init its streams, launch it, and keep our ends of them."""
        seccomp = os.pread(self._received["seccomp"], 1 << 20, 0) if "seccomp" in self._received else b""
        with self.carrier.pipes(self.spec.process.terminal, self._message["stdin"] != STDIN_NONE) as theirs:
            given = launch.Resources(
                descriptors=theirs,
                rootfs=self._received.get("rootfs", -1),
                seccomp=seccomp,
                namespaces={
                    name.removeprefix("namespace:"): descriptor
                    for name, descriptor in self._received.items()
                    if name.startswith("namespace:")
                },
                mounts={
                    name.removeprefix("mount:"): descriptor
                    for name, descriptor in self._received.items()
                    if name.startswith("mount:")
                },
                reap=self._message["init"],
                trace=self._received.get("trace", -1),
            )
            launched = launch.start(self.spec, self.cgroup, given)
        self.pid, self.root = launched.pid, launched.root
        self.carrier.begin(launched.terminal)
        for name, descriptor in self._received.items():
            if name not in ("events",) and not name.startswith("client"):
                os.close(descriptor)  # the root mount above all: it must die with the container

    def serve(self) -> None:
        """Carry the streams and answer the daemon until the container has ended and everybody knows it."""
        while self.exit_code is None:
            self.loop.run_once()
        self.relay.close()  # the ports are free when the end is heard of
        self.execs.kill()
        self._kill_cgroup()
        self.carrier.stop_waiting()
        self._drain(DRAIN_SECONDS, lambda: not self.carrier.is_open and self.execs.are_over)
        self.carrier.end()
        ended = {
            "exit_code": self.exit_code,
            "oom_killed": self._was_oom_killed(),
            "finished_at": logs.timestamp(time.time_ns()),
            "error": "",
        }
        try:
            atomic.write_state(os.path.join(self.directory, "exit.json"), atomic.to_json(ended))
        except OSError as error:  # the disk is full, or somebody removed the directory: the event still goes
            ended["error"] = f"cannot write exit.json: {os.strerror(error.errno or 0).lower()}"
        self.carrier.finish_clients()
        if self.root >= 0:
            os.close(self.root)  # before the report: whoever hears it may mount the same layers again
            self.root = -1
        self.report({"event": "exit", **ended})
        self._remove_cgroup()
        self._doors.close()  # now the container may start again, even if a client is still reading
        self._drain(FAREWELL_SECONDS, lambda: not self.carrier.clients and not self.execs.have_clients)

    def listen(self, channel: socket.socket) -> None:
        """Send events to a daemon from now on, until it closes its end."""
        self.listeners.append(channel)
        self.loop.watch(channel.fileno(), READ, lambda _events: self._drop(channel))

    def _drop(self, channel: socket.socket) -> None:
        self.loop.forget(channel.fileno())
        self.listeners.remove(channel)
        channel.close()

    def _kill_init(self) -> None:
        if self.pid > 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _was_oom_killed(self) -> bool:
        """Tell whether the container ran out of memory; False where no memory controller counts that.

        It can be missing from the start (cgroup_disable=memory), and whoever owns a cgroup above can take it
        away at any time, as systemd 252 does: neither may cost the exit code.
        """
        try:
            return self.cgroup is not None and self.cgroup.oom_kills() > 0
        except OSError:
            return False

    def _kill_cgroup(self) -> None:
        """Kill what is left in the cgroup. A daemon that does the same at this moment may spoil it for us."""
        if self.cgroup is not None:
            with contextlib.suppress(OSError):
                self.cgroup.kill()

    def _remove_cgroup(self) -> None:
        """Remove the cgroup with all that is in it. One that stays is the daemon's to sweep."""
        self._kill_cgroup()
        if self.cgroup is not None:
            with contextlib.suppress(OSError):
                self.cgroup.delete()

    def report(self, event: Message) -> None:
        """Tell every listening daemon; one that is gone or asleep does not hold us up."""
        for channel in list(self.listeners):
            try:
                channel.setblocking(False)
                protocol.send(channel, event)
            except OSError:
                self._drop(channel)

    def _drain(self, seconds: float, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not done() and (left := deadline - time.monotonic()) > 0:
            self.loop.run_once(left)

    def _watch_children(self) -> None:
        """Let SIGCHLD wake the loop: its handler does nothing, the wake-up descriptor does."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def woken(_events: int) -> None:
            os.read(reading, 4096)
            self._reap()

        self.loop.watch(reading, READ, woken)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.exit_code = process.exit_code(status)
            else:
                self.execs.ended(pid, process.exit_code(status))


def main(message: Message, descriptors: list[int]) -> NoReturn:
    """Be the shim of one run: the spawner calls this in a fresh child."""
    received = unpack(message, descriptors)
    os.setsid()
    oom_score = _protect_from_the_oom_killer()
    events = socket.socket(fileno=os.dup(received["events"]))
    try:
        shim = Shim(message, received, oom_score)
        shim.start()
    except BaseException as error:
        failed = launch.failure(error, "start the shim")
        protocol.send(
            events, {"event": "failed", "step": failed.step, "errno": failed.errno, "error": str(failed)}
        )
        os._exit(1)
    events.close()
    try:
        shim.serve()
    except BaseException:
        traceback.print_exc()  # the daemon sees us gone without exit.json and kills the container
        os._exit(1)
    os._exit(0)


def _protect_from_the_oom_killer() -> int:
    """Lower our score, and return what it was: lowering needs CAP_SYS_RESOURCE, which even root may lack."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    try:
        before = int(os.read(descriptor, 16))
        with contextlib.suppress(PermissionError):
            os.write(descriptor, str(OOM_SCORE).encode())
    finally:
        os.close(descriptor)
    return before


def _with_oom_score(spec: bundle.Spec, inherited: int) -> bundle.Spec:
    """Return `spec` with the score that its program would have without us, unless it says one."""
    if spec.process.oom_score_adj is not None:
        return spec
    return msgspec.structs.replace(
        spec, process=msgspec.structs.replace(spec.process, oom_score_adj=inherited)
    )


def _remove_if_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)
