"""Ends: one thread that hears from every shim, and what follows when a container's program is over.

A shim says `exit` once; a shim that is gone without a word and without exit.json was killed, and then the
container's processes are killed too and it counts as 137. The thread only ever polls, so one stuck container
cannot hold up another. poll(2), eventfd(2).
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import threading
import time
from typing import TYPE_CHECKING

from minidock.engine import execs, mounts_sources, networking, records, removal, times, transitions, waiting
from minidock.engine.containers import Container
from minidock.errors import Damaged
from minidock.runtime import protocol
from minidock.runtime.protocol import Message

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.runtime.client import Shim

log = logging.getLogger(__name__)
FAREWELL_PATIENCE = 12.0  # seconds; a shim's own patience with its clients is 10
LOST = records.Exit(exit_code=137, error="shim lost")


class Supervisor:
    """Watches the shims of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: dict[int, tuple[Container, Shim]] = {}
        self._poller = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._poller.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; shims and containers are left as they are. May be called without `start`."""
        self._stopping = True
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        if not self._poller.closed:
            self._poller.close()
            os.close(self._wake)

    def watch(self, container: Container, shim: Shim) -> None:
        """Hear of the end of this run. Call it with the container's lock held, when its state says that it
        runs.
        """
        self._watched[shim.events.fileno()] = (container, shim)
        self._poller.register(shim.events.fileno(), select.EPOLLIN)

    def _run(self) -> None:
        while not self._stopping:
            for descriptor, _ in self._poller.poll():
                if descriptor in self._watched:
                    try:
                        self._listen(descriptor)
                    except Exception:
                        log.exception("while hearing of the end of a container")

    def _listen(self, descriptor: int) -> None:
        container, shim = self._watched[descriptor]
        try:
            message = shim.read_event()
        except OSError:
            message = None
        if message is not None and message.get("event") != "exit":
            _note(self._engine, container, message)
            return
        del self._watched[descriptor]
        self._poller.unregister(descriptor)
        if message is not None:
            members = {name: message[name] for name in ("exit_code", "oom_killed", "finished_at", "error")}
            ended(self._engine, container, records.Exit(**members), shim)
        else:
            ended(self._engine, container, _from_disk(container) or _bury(self._engine, container), shim)


def _note(engine: Engine, container: Container, message: Message) -> None:
    """A shim tells of something that is not the end of its container."""
    if message["event"] == "exec_exit":
        execs.ended(engine, message["id"], message["exit_code"])
    elif message["event"] == "detach" and message["exec"] is None:
        engine.events.publish("container", "detach", container.id, container.attributes())
    elif message["event"] == "detach":
        attributes = container.attributes(execID=message["exec"])
        engine.events.publish("container", "exec_detach", container.id, attributes)


def ended(engine: Engine, container: Container, end: records.Exit, shim: Shim | None = None) -> None:
    """Record the end of a run, tell everyone, and with `--rm` remove the container."""
    with container.lock:
        again = engine.restarter.decide(container, end.exit_code)
        status = transitions.following(container.status, "retry" if again else "exit")
        if status is None or container.shim is not shim:
            return
        container.shim = None
        if container.health is not None:
            container.health.stop()
        if shim is not None:
            shim.close()
        networking.release(engine, container)
        mounts_sources.release(engine, container)
        container.change(
            endpoints={},
            ports={},
            status=status,
            pid=0,
            start_time=0,
            exit_code=end.exit_code,
            error=end.error,
            oom_killed=end.oom_killed,
            finished_at=end.finished_at or times.now(),
        )
        container.close_parked()
    execs.lose(engine, container)
    if end.oom_killed:
        engine.events.publish("container", "oom", container.id, container.attributes())
    engine.events.publish("container", "die", container.id, container.attributes(exitCode=str(end.exit_code)))
    waiting.announce(container)
    if again:
        engine.restarter.schedule(container)
    elif container.record.host_config.auto_remove and not container.is_kept:
        removal.discard(engine, container)


def _from_disk(container: Container) -> records.Exit | None:
    """Return what the shim wrote although it could not tell us."""
    try:
        return records.read_exit(container.directory)
    except Damaged as damage:
        log.warning("%s", damage)
        return None


def _bury(engine: Engine, container: Container) -> records.Exit:
    """Kill what a lost shim has left running."""
    bury(engine, container)
    log.warning("container %s: its shim is gone without a word; its processes are killed", container.id)
    return LOST


def await_former_shim(engine: Engine, container: Container) -> None:
    """Wait until the shim of the last run has taken its cgroup and its socket away: a new run uses the same.

    The shim tells of the end before it cleans up, and may wait some seconds for a client that does not read.
    """
    directory = engine.paths.shim_directory(container.id)
    deadline = time.monotonic() + FAREWELL_PATIENCE
    while os.path.lexists(directory):
        if time.monotonic() > deadline or is_deserted(directory):
            bury(engine, container)
            return
        time.sleep(0.002)


def is_deserted(directory: str) -> bool:
    """Return whether the socket in `directory` is there and nobody listens: its shim was killed."""
    try:
        protocol.connect(directory, protocol.CONTROL_SOCKET, timeout=1.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def bury(engine: Engine, container: Container) -> None:
    """Kill every process in the container's cgroup, remove it and what a shim has left. Never raises."""
    shutil.rmtree(engine.paths.shim_directory(container.id), ignore_errors=True)
    cgroup = engine.cgroup(container)
    try:
        if cgroup.exists():
            cgroup.kill()
            cgroup.delete()
    except OSError:
        log.exception("cannot remove the cgroup %s", cgroup.path)
