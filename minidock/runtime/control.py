"""What the daemon can ask of a shim: attach, resize, exec, the root directory, and to be told of the end.

One request a connection on the path socket, which works the same before and after a restart of the daemon.
Only `subscribe` keeps its connection: events arrive there.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from minidock.kernel import process
from minidock.runtime import bundle, execute, launch, protocol
from minidock.runtime.carrier import Carrier
from minidock.runtime.loop import READ
from minidock.runtime.protocol import Message
from minidock.runtime.requests import AttachClient, unpack

if TYPE_CHECKING:
    from minidock.runtime.shim import Shim


class Doors:
    """The shim's control socket and the requests that come through it."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._listener: socket.socket | None = None
        self._answers: dict[str, Callable[[socket.socket, Message, dict[str, int]], None]] = {
            "subscribe": self._subscribe,
            "attach": self._attach,
            "resize": self._resize,
            "root": self._root,
            "exec": self._exec,
        }

    def open(self) -> None:
        """Listen in the shim's socket directory."""
        self._listener = protocol.listen(self._shim.socket_directory, protocol.CONTROL_SOCKET)
        self._shim.loop.watch(self._listener.fileno(), READ, self._accept)

    def close(self) -> None:
        """Take the socket and its directory away; the shim cannot be reached any more."""
        if self._listener is not None:
            self._shim.loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._shim.socket_directory, protocol.CONTROL_SOCKET))
            os.rmdir(self._shim.socket_directory)

    def _accept(self, _events: int) -> None:
        assert self._listener is not None
        channel, _ = self._listener.accept()
        self._shim.loop.watch(channel.fileno(), READ, lambda _events: self._receive(channel))

    def _receive(self, channel: socket.socket) -> None:
        self._shim.loop.forget(channel.fileno())
        received = protocol.receive(channel)
        if received is None:
            channel.close()
            return
        message, descriptors = received
        try:
            self._answers[message["op"]](channel, message, unpack(message, descriptors))
        except Exception as error:  # the top of a request: whatever went wrong is the asker's to know
            failed = launch.failure(error, message.get("op", "?"))
            with contextlib.suppress(OSError):
                protocol.send(channel, {"error": str(failed), "step": failed.step, "errno": failed.errno})
        if message.get("op") != "subscribe":
            channel.close()

    def _subscribe(self, channel: socket.socket, _message: Message, _received: dict[str, int]) -> None:
        shim = self._shim
        shim.listeners.append(channel)
        facts = {"pid": shim.pid, "start_time": process.start_time(shim.pid), "shim_pid": os.getpid()}
        protocol.send(channel, {"event": "running", **facts})

    def _attach(self, channel: socket.socket, message: Message, received: dict[str, int]) -> None:
        self._carrier(message).attach(AttachClient.from_message(message["client"], received["client0"]))
        protocol.send(channel, {})

    def _resize(self, channel: socket.socket, message: Message, _received: dict[str, int]) -> None:
        self._carrier(message).resize(message["rows"], message["columns"])
        protocol.send(channel, {})

    def _root(self, channel: socket.socket, _message: Message, _received: dict[str, int]) -> None:
        protocol.send(channel, {}, [self._shim.root])

    def _exec(self, channel: socket.socket, message: Message, received: dict[str, int]) -> None:
        protocol.send(channel, {"pid": self._shim.execs.start(message, received)})

    def _carrier(self, message: Message) -> Carrier:
        identifier = message.get("exec")
        return self._shim.carrier if identifier is None else self._shim.execs.carrier(identifier)


class Execs:
    """The exec'd programs that run beside init, by pid."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._running: dict[int, tuple[str, Carrier]] = {}

    def carrier(self, identifier: str) -> Carrier:
        """Return the streams of a running exec."""
        for name, carrier in self._running.values():
            if name == identifier:
                return carrier
        raise launch.LaunchFailed("find the exec", 0, f"exec {identifier} is not running")

    def start(self, message: Message, received: dict[str, int]) -> int:
        """Start the program of an exec request; return its pid as the host sees it."""
        shim = self._shim
        what = msgspec.convert(message["process"], bundle.Process)
        seccomp = os.pread(received["seccomp"], 1 << 20, 0) if "seccomp" in received else b""
        carrier = Carrier(shim.loop, None, close_stdin_once=True)
        for index, client in enumerate(message["clients"]):
            carrier.attach(AttachClient.from_message(client, received[f"client{index}"]), waiting=True)
        target = execute.Target(shim.pid, shim.spec, shim.cgroup, shim.root)
        with carrier.pipes(what.terminal, message["stdin"]) as theirs:
            launched = execute.start(target, what, theirs, seccomp)
        carrier.begin(launched.terminal)
        self._running[launched.pid] = (message["identifier"], carrier)
        return launched.pid

    def ended(self, pid: int, exit_code: int) -> None:
        """Record the end of a reaped child; one that is no exec was an adopted orphan."""
        entry = self._running.pop(pid, None)
        if entry is None:
            return
        identifier, carrier = entry
        carrier.stop_waiting()
        self._shim.finish_exec(identifier, carrier, exit_code)
