"""What the daemon can ask of a shim: attach, resize, exec, the root directory, and to be told of the end.

One request a connection on the path socket, which works the same before and after a restart of the daemon.
Only `subscribe` keeps its connection: events arrive there.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from minidock.runtime import bundle, execute, launch, protocol
from minidock.runtime.carrier import Carrier
from minidock.runtime.loop import READ
from minidock.runtime.protocol import Message
from minidock.runtime.requests import AttachClient, unpack

if TYPE_CHECKING:
    from minidock.runtime.shim import Shim

DRAIN_SECONDS = 2.0
MAXIMUM_KEPT = 64  # ends of execs that wait for a daemon


class Doors:
    """The shim's control socket and the requests that come through it."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._listener: socket.socket | None = None
        self._withholding: set[socket.socket] = set()
        self._answers: dict[str, Callable[[socket.socket, Message, dict[str, int]], None]] = {
            "subscribe": self._subscribe,
            "attach": self._attach,
            "resize": self._resize,
            "root": self._root,
            "exec": self._exec,
            "publish": self._publish,
            "unpublish": self._unpublish,
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
        try:
            channel, _ = self._listener.accept()
        except OSError:
            time.sleep(0.01)  # out of descriptors: those who wait stay in the queue until some are closed
            return
        self._shim.loop.watch(channel.fileno(), READ, lambda _events: self._receive(channel))

    def _receive(self, channel: socket.socket) -> None:
        self._shim.loop.forget(channel.fileno())
        message: Message = {}
        received: dict[str, int] = {}
        try:
            got = protocol.receive(channel)
            if got is not None:
                message, descriptors = got
                received = unpack(message, descriptors)
                self._answers[message["op"]](channel, message, received)
        except Exception as error:  # the top of a request: whatever went wrong is the asker's to know
            failed = launch.failure(error, str(message.get("op", "?")))
            with contextlib.suppress(OSError):
                protocol.send(channel, {"error": str(failed), "step": failed.step, "errno": failed.errno})
        protocol.close_all(list(received.values()))  # whoever keeps one has taken it out
        if channel not in self._shim.listeners and channel not in self._withholding:
            channel.close()

    def _subscribe(self, channel: socket.socket, _message: Message, _received: dict[str, int]) -> None:
        shim = self._shim
        facts = {"pid": shim.pid, "start_time": shim.start_time, "shim_pid": os.getpid()}
        protocol.send(channel, {"event": "running", **facts, "execs": shim.execs.known()})
        shim.listen(channel)

    def _attach(self, channel: socket.socket, message: Message, received: dict[str, int]) -> None:
        carrier = self._carrier(message)
        request = AttachClient.from_message(message["client"], received.pop("client0"))
        if not message.get("withhold"):
            carrier.attach(request)
            protocol.send(channel, {})
            return
        client, position = carrier.attach_withheld(request)

        def advance(_events: int) -> None:
            if protocol.receive(channel) is not None:
                client.go_on()
                return
            self._shim.loop.forget(channel.fileno())
            self._withholding.discard(channel)
            channel.close()
            client.release()

        self._withholding.add(channel)  # its end, also that of its daemon, lets the client go on
        self._shim.loop.watch(channel.fileno(), READ, advance)
        protocol.send(channel, {"position": position})

    def _resize(self, channel: socket.socket, message: Message, _received: dict[str, int]) -> None:
        self._carrier(message).resize(message["rows"], message["columns"])
        protocol.send(channel, {})

    def _root(self, channel: socket.socket, _message: Message, _received: dict[str, int]) -> None:
        protocol.send(channel, {}, [self._shim.root])

    def _exec(self, channel: socket.socket, message: Message, received: dict[str, int]) -> None:
        protocol.send(channel, {"pid": self._shim.execs.start(message, received)})

    def _publish(self, channel: socket.socket, message: Message, received: dict[str, int]) -> None:
        """Take over bound sockets and lead what comes there to the container."""
        for index, (address, port) in enumerate(message["targets"]):
            self._shim.relay.add(received.pop(f"port{index}"), (address, port))
        protocol.send(channel, {})

    def _unpublish(self, channel: socket.socket, _message: Message, _received: dict[str, int]) -> None:
        self._shim.relay.close()
        protocol.send(channel, {})

    def _carrier(self, message: Message) -> Carrier:
        identifier = message.get("exec")
        return self._shim.carrier if identifier is None else self._shim.execs.carrier(identifier)


class Execs:
    """The exec'd programs that run beside init, by pid."""

    def __init__(self, shim: "Shim") -> None:
        self._shim = shim
        self._running: dict[int, tuple[str, Carrier]] = {}
        self._draining: set[str] = set()
        self._leaving: list[Carrier] = []  # reported, but a client has not yet read everything
        self._facts: dict[str, Message] = {}  # of those that no daemon has been told the end of

    @property
    def are_over(self) -> bool:
        """True when the end of every exec has been reported."""
        return not self._running and not self._draining

    @property
    def have_clients(self) -> bool:
        """True while a client of an ended exec still has something to read."""
        return any(carrier.clients for carrier in self._leaving)

    def known(self) -> list[Message]:
        """Return what a new daemon needs to know: those that run, and those that ended while nobody
        listened.
        """
        known = list(self._facts.values())
        self._facts = {name: facts for name, facts in self._facts.items() if facts["exit_code"] is None}
        return known

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
        if what.oom_score_adj is None:
            what = msgspec.structs.replace(what, oom_score_adj=shim.spec.process.oom_score_adj)
        seccomp = os.pread(received["seccomp"], 1 << 20, 0) if "seccomp" in received else b""
        carrier = Carrier(shim.loop, None, close_stdin_once=True)
        carrier.detached = lambda: shim.report({"event": "detach", "exec": message["identifier"]})
        try:
            for index, client in enumerate(message["clients"]):
                request = AttachClient.from_message(client, received.pop(f"client{index}"))
                carrier.attach(request, waiting=True)
            target = execute.Target(shim.pid, shim.spec, shim.cgroup, shim.root)
            with carrier.pipes(what.terminal, message["stdin"]) as theirs:
                launched = execute.start(target, what, theirs, seccomp)
            self._running[launched.pid] = (message["identifier"], carrier)
            self._facts[message["identifier"]] = {
                "id": message["identifier"],
                "pid": launched.pid,
                "process": message["process"],
                "stdin": message["stdin"],
                "exit_code": None,
            }
            carrier.begin(launched.terminal)
        except BaseException:
            carrier.abandon()
            raise
        return launched.pid

    def kill(self) -> None:
        """Kill those that still run: the container has ended."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)  # ours and not reaped, so the pid is still theirs

    def ended(self, pid: int, exit_code: int) -> None:
        """A child was reaped: report its end when its output has ended. One that is no exec was an adopted
        orphan.
        """
        entry = self._running.pop(pid, None)
        if entry is None:
            return
        identifier, carrier = entry

        def drained() -> None:
            self._draining.discard(identifier)
            carrier.end()
            # The report first: a client that sees the end of its stream asks the daemon for the exit code.
            self._shim.report({"event": "exec_exit", "id": identifier, "exit_code": exit_code})
            carrier.finish_clients()
            self._leaving = [one for one in (*self._leaving, carrier) if one.clients]
            if self._shim.listeners:
                del self._facts[identifier]
            else:
                self._keep(identifier, exit_code)

        self._draining.add(identifier)
        carrier.drain(DRAIN_SECONDS, drained)

    def _keep(self, identifier: str, exit_code: int) -> None:
        """Keep the end of an exec for the next daemon; of many, the last MAXIMUM_KEPT."""
        facts = self._facts.pop(identifier)
        over = [name for name, other in self._facts.items() if other["exit_code"] is not None]
        for name in over[: len(over) + 1 - MAXIMUM_KEPT]:
            del self._facts[name]
        self._facts[identifier] = {**facts, "exit_code": exit_code}
