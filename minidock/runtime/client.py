"""The daemon's side of spawner and shims.

A Shim is known by its container's socket directory: after a restart of the daemon the same requests work.
Methods may be called from any thread; each request has a connection of its own.
"""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from minidock.errors import Conflict, MinidockError, StartFailed
from minidock.kernel import process
from minidock.runtime import bundle, protocol, sealed
from minidock.runtime.logs import Position
from minidock.runtime.protocol import CONTROL_SOCKET, Message
from minidock.runtime.requests import AttachClient, ExecRequest, LaunchRequest, pack

REQUEST_TIMEOUT = 10.0
PORTS_A_MESSAGE = 200  # a message carries at most 253 descriptors
CHANNEL = 3  # the spawner's descriptor of its channel
NOT_FOUND, NOT_EXECUTABLE, ENGINE_FAILED = 127, 126, 125

Replacement = tuple[str, str, str]  # module, function, file


class Spawner:
    """The running spawner process."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel
        self._lock = threading.Lock()

    @classmethod
    def start(cls, replacements: Sequence[Replacement] = ()) -> "Spawner":
        """Start the spawner from a sealed copy of the interpreter; it inherits the caller's cgroup."""
        ours, theirs = protocol.pair()
        copy = sealed.interpreter()
        try:
            # Not subprocess: it would close the copy's descriptor before the exec that needs it. Ours all
            # close on exec.
            pid = os.posix_spawn(
                f"/proc/self/fd/{copy}",
                sealed.command("minidock.runtime.spawner", str(CHANNEL), json.dumps(list(replacements))),
                {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), CHANNEL),
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                ],
                setsid=True,
                setsigdef=signal.valid_signals(),
                setsigmask=(),
            )
        finally:
            os.close(copy)
            theirs.close()
        if protocol.receive(ours) is None:
            raise MinidockError(f"the spawner ended at its start with status {os.waitpid(pid, 0)[1]}")
        return cls(pid, ours)

    def close(self) -> None:
        """End the spawner; running shims do not notice."""
        self._channel.close()
        os.waitpid(self.pid, 0)

    def launch(self, request: LaunchRequest) -> "Shim":
        """Run a container; returns once its program runs. Raises StartFailed with nothing left behind."""
        spec = msgspec.json.encode(request.spec)
        bundle.parse(spec)  # its errors name the member here, where the request can still be refused
        ours, theirs = protocol.pair()
        made = [process.sealed_memfd("spec", spec)]
        if request.seccomp:
            made.append(process.sealed_memfd("seccomp", request.seccomp))
        try:
            named = {
                "spec": made[0],
                "seccomp": made[1] if request.seccomp else -1,
                "events": theirs.fileno(),
                "rootfs": request.rootfs,
                "trace": request.trace,
                **{f"namespace:{kind}": descriptor for kind, descriptor in request.namespaces.items()},
                **{f"mount:{place}": descriptor for place, descriptor in request.mounts.items()},
                **{f"client{index}": client.descriptor for index, client in enumerate(request.clients)},
            }
            shim_pid, pidfd = self._fork(_launch_message(request), named)
        finally:
            protocol.close_all(made)
            theirs.close()
        return _await_start(request, ours, shim_pid, pidfd)

    def _fork(self, message: Message, named: Mapping[str, int]) -> tuple[int, int]:
        names, descriptors = pack(named)
        with self._lock:
            try:
                protocol.send(self._channel, {**message, "descriptors": names}, descriptors)
                received = protocol.receive(self._channel)
            except BrokenPipeError:
                received = None
        if received is None:
            raise MinidockError("the spawner is gone: restart the daemon")
        if "error" in received[0]:
            raise MinidockError(f"the spawner {received[0]['error']}")
        return received[0]["shim"], received[1][0]


class Shim:
    """A running container as the daemon sees it. `events` is a socket: poll it, then `read_event`."""

    def __init__(self, socket_directory: str, events: socket.socket, facts: Message, pidfd: int) -> None:
        self.events = events
        self.pid: int = facts["pid"]
        self.start_time: int = facts["start_time"]
        self.shim_pid: int = facts["shim_pid"]
        self.pidfd = pidfd  # of the shim: readable when it has ended
        self.execs: list[Message] = facts.get("execs", [])  # that an earlier daemon started
        self._socket_directory = socket_directory

    @classmethod
    def reconnect(cls, socket_directory: str) -> "Shim":
        """Find the shim of a container that was started by an earlier daemon. Raises OSError when it is not
        there.
        """
        events = protocol.connect(socket_directory, CONTROL_SOCKET, REQUEST_TIMEOUT)
        try:
            protocol.send(events, {"op": "subscribe"})
            received = protocol.receive(events)
            if received is None:
                raise ConnectionResetError("the shim is ending")
            pidfd = process.pidfd_open(received[0]["shim_pid"])
        except BaseException:
            events.close()
            raise
        events.settimeout(None)
        return cls(socket_directory, events, received[0], pidfd)

    def read_event(self) -> Message | None:
        """Return the next event (`exit`, `exec_exit`); None when the shim is gone."""
        received = protocol.receive(self.events)
        return None if received is None else received[0]

    def attach(self, client: AttachClient) -> None:
        """Hand a client's socket over to the shim."""
        self._ask({"op": "attach", "client": client.to_message()}, {"client0": client.descriptor})

    @contextlib.contextmanager
    def attached_after_log(
        self, client: AttachClient
    ) -> Iterator[tuple[Position | None, Callable[[], None]]]:
        """Hand a client's socket over; it receives nothing from the shim before the block's end.

        Gives the place in the log after which the client's stream goes on (None: nothing is logged), and a
        function to call when the log's files are open: until then the program's output stands still.
        """
        message = {"op": "attach", "client": client.to_message(), "withhold": True}
        with self._asking(message, {"client0": client.descriptor}) as (answer, _, channel):
            position = answer["position"]
            yield (
                None if position is None else Position(*position),
                lambda: protocol.send(channel, {"go_on": True}),
            )

    def resize(self, rows: int, columns: int, exec_id: str | None = None) -> None:
        """Resize the terminal of the container or of one of its execs."""
        self._ask({"op": "resize", "rows": rows, "columns": columns, "exec": exec_id}, {})

    def publish(self, ports: Sequence[tuple[int, str, int]]) -> None:
        """Hand over bound sockets, each with the container's address and port; the caller's stay its own."""
        for first in range(0, len(ports), PORTS_A_MESSAGE):
            part = ports[first : first + PORTS_A_MESSAGE]
            named = {f"port{index}": descriptor for index, (descriptor, _, _) in enumerate(part)}
            targets = [[address, port] for _, address, port in part]
            self._ask({"op": "publish", "targets": targets}, named)

    def unpublish(self) -> None:
        """Let the shim give all published ports free."""
        self._ask({"op": "unpublish"}, {})

    def root_descriptor(self) -> int:
        """Return an O_PATH descriptor of the container's root; the caller closes it."""
        return self._ask({"op": "root"}, {})[1][0]

    def execute(self, request: ExecRequest) -> int:
        """Run one more program in the container; return its pid. Raises StartFailed."""
        made = [process.sealed_memfd("seccomp", request.seccomp)] if request.seccomp else []
        message: dict[str, Any] = {
            "op": "exec",
            "identifier": request.identifier,
            "process": dict(request.process),
            "stdin": request.stdin,
            "clients": [client.to_message() for client in request.clients],
        }
        named = {f"client{index}": client.descriptor for index, client in enumerate(request.clients)}
        if made:
            named["seccomp"] = made[0]
        try:
            answer, _ = self._ask(message, named)
        finally:
            protocol.close_all(made)
        pid: int = answer["pid"]
        return pid

    def close(self) -> None:
        """Forget the shim; it lives on."""
        self.events.close()
        os.close(self.pidfd)

    def _ask(self, message: Message, named: Mapping[str, int]) -> tuple[Message, list[int]]:
        with self._asking(message, named) as (answer, descriptors, _):
            return answer, descriptors

    @contextlib.contextmanager
    def _asking(
        self, message: Message, named: Mapping[str, int]
    ) -> Iterator[tuple[Message, list[int], socket.socket]]:
        """Send a request and give its answer, and the connection, which closes at the block's end."""
        names, descriptors = pack(named)
        try:
            channel = protocol.connect(self._socket_directory, CONTROL_SOCKET, REQUEST_TIMEOUT)
        except OSError as error:
            raise Conflict("container is not running") from error
        with channel:
            protocol.send(channel, {**message, "descriptors": names}, descriptors)
            received = protocol.receive(channel)
            if received is None:
                raise Conflict("container is not running")
            if "error" in received[0]:
                raise start_failed(received[0], "exec")
            yield *received, channel


def _launch_message(request: LaunchRequest) -> Message:
    return {
        "op": "launch",
        "identifier": request.identifier,
        "directory": request.directory,
        "socket_directory": request.socket_directory,
        "stdin": request.stdin,
        "init": request.init,
        "log": {
            "driver": request.log.driver,
            "path": request.log.path,
            "max_size": request.log.max_size,
            "max_file": request.log.max_file,
        },
        "clients": [client.to_message() for client in request.clients],
    }


def _await_start(request: LaunchRequest, events: socket.socket, shim_pid: int, pidfd: int) -> Shim:
    received = protocol.receive(events)
    if received is not None and received[0]["event"] == "started":
        return Shim(request.socket_directory, events, {**received[0], "shim_pid": shim_pid}, pidfd)
    events.close()
    os.close(pidfd)
    if received is None:
        raise StartFailed("failed to create shim task: the shim ended before the container started")
    raise start_failed(received[0], "create")


def start_failed(report: Message, verb: str) -> StartFailed:
    """Word a failed start as Docker does; its text decides the docker CLI's exit code (engine-api, "The
    flows").
    """
    message = report["error"]
    code = ENGINE_FAILED
    if report["step"] == "exec":
        name = message.partition(": ")[0]
        if not message.startswith("exec: "):
            message = f'exec: "{name}": {message.partition(": ")[2] or message}'
        code = NOT_EXECUTABLE if "permission denied" in message or "is a directory" in message else NOT_FOUND
    if report["step"] == "change directory":
        path, _, reason = message.partition(": ")
        message = f'chdir to cwd ("{path}") set in config.json failed: {reason}'
    if report["step"] == "make the working directory" and message.endswith(": not a directory"):
        path = message.rsplit(": ", 2)[1]
        return StartFailed(f"Cannot mkdir: {path} is not a directory")
    if verb == "exec":
        return StartFailed(
            f"OCI runtime exec failed: exec failed: unable to start container process: {message}", code
        )
    return StartFailed(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        f"unable to start container process: {message if report['step'] == 'exec' else _with_step(report)}",
        code,
    )


def _with_step(report: Message) -> str:
    return f"error during container init: {report['step']}: {report['error']}"
