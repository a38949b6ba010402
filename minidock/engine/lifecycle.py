"""Verbs that move a container through its life: start, stop, restart, kill, pause, unpause, remove, resize.

Which verb is allowed when is the table of `transitions`; here is how it is done. Nothing waits with a lock
held: the end of a program is heard by the supervisor, which needs the same lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal as standard
from collections.abc import Callable
from typing import TYPE_CHECKING

from minidock.engine import links, networking, removal, restarting, signals, starting, waiting
from minidock.engine.containers import Container, find
from minidock.engine.transitions import require
from minidock.errors import Conflict, MinidockError, NotFound, NotModified
from minidock.kernel import process

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

STOP_TIMEOUT = 10
KILL_PATIENCE = 10.0  # seconds for a killed program to be gone; one in uninterruptible sleep may take longer


def start(engine: Engine, reference: str, trace: int = -1) -> None:
    """Start a created or ended container; `trace` is a descriptor for the records of `--explain`.

    NotModified when it runs; Conflict when it is paused or going away; StartFailed with Docker's words.
    """
    starting.start(engine, find(engine, reference), reference, trace)


def stop(engine: Engine, reference: str, timeout: int | None = None, signal: str = "") -> None:
    """Ask the program to end, and kill it after `timeout` seconds (None: the container's own or 10; -1:
    never).

    NotModified when it does not run.
    """
    container = find(engine, reference)
    config = container.record.config
    require(container.status, "stop", container.id, reference)
    number = signals.number(signal or config.stop_signal or "TERM")
    if timeout is None:
        timeout = STOP_TIMEOUT if config.stop_timeout is None else config.stop_timeout
    with container.lock:
        require(container.status, "stop", container.id, reference)
        container.change(stopped_by_user=True)
        is_between_runs = container.status == "restarting"
    if is_between_runs:
        restarting.give_up(container)
        engine.events.publish("container", "stop", container.id, container.attributes())
        return
    with waiting.watch(container, waiting.NOT_RUNNING) as waiter:
        _signal_and_thaw(engine, container, number)
        if not waiter.wait(None if timeout < 0 else timeout):
            _signal_and_thaw(engine, container, standard.SIGKILL)
            _require_end(waiter, container)
    engine.events.publish("container", "stop", container.id, container.attributes())


def restart(engine: Engine, reference: str, timeout: int | None = None, signal: str = "") -> None:
    """Stop the container if it runs, and start it; `--rm` does not take it away in between."""
    container = find(engine, reference)
    container.is_kept = True
    try:
        with contextlib.suppress(NotModified):
            stop(engine, container.id, timeout, signal)
        starting.start(engine, container, reference)
    finally:
        container.is_kept = False
    engine.events.publish("container", "restart", container.id, container.attributes())


def kill(engine: Engine, reference: str, signal: str = "KILL") -> None:
    """Send a signal (name, SIGname or number) to the program; returns after its end when that is SIGKILL.

    Conflict when it does not run.
    """
    container = find(engine, reference)
    number = signals.number(signal or "KILL")
    require(container.status, "kill", container.id, reference)
    stops = {standard.SIGKILL, signals.number(container.record.config.stop_signal or "TERM")}
    if container.status == "restarting":
        with container.lock:
            container.change(stopped_by_user=True)
        restarting.give_up(container)
        return
    if number not in stops:
        _signal(engine, container, number)
        return
    with waiting.watch(container, waiting.NOT_RUNNING) as waiter:
        with container.lock:
            if container.is_running:
                container.change(stopped_by_user=True)
        _signal_and_thaw(engine, container, number)
        if number == standard.SIGKILL:
            _require_end(waiter, container)


def pause(engine: Engine, reference: str) -> None:
    """Freeze every process of the container; Conflict when it does not run or is paused already."""
    container = find(engine, reference)
    with container.lock:
        status = require(container.status, "pause", container.id, reference)
        _cgroup_step(container, "pause", engine.cgroup(container).freeze)
        container.change(status=status)
    engine.events.publish("container", "pause", container.id, container.attributes())


def unpause(engine: Engine, reference: str) -> None:
    """Let the container go on; Conflict when it is not paused."""
    container = find(engine, reference)
    with container.lock:
        status = require(container.status, "unpause", container.id, reference)
        _cgroup_step(container, "unpause", engine.cgroup(container).thaw)
        container.change(status=status)
    engine.events.publish("container", "unpause", container.id, container.attributes())


def remove(
    engine: Engine, reference: str, force: bool = False, volumes: bool = False, link: bool = False
) -> None:
    """Remove a container; with `force` one that runs is killed first. `volumes` removes its anonymous
    volumes too. With `link` the reference is PARENT/ALIAS, and only this link goes.

    Conflict when it runs or is being removed.
    """
    if link:
        parent = links.remove(engine, reference)
        if parent.is_running:
            networking.write_names(engine, parent)
        return
    container = find(engine, reference)
    if force and container.is_up:
        with container.lock:
            container.change(stopped_by_user=True)  # no restart policy may be faster
        restarting.give_up(container)
    if force and container.is_running:
        with waiting.watch(container, waiting.NOT_RUNNING) as waiter:
            _signal_and_thaw(engine, container, standard.SIGKILL)
            _require_end(waiter, container)
    with container.lock:
        if container.status == "gone":  # --rm took it away when it ended
            return
        require(container.status, "remove", container.id, container.name)
        try:
            removal.discard(engine, container, volumes)
        except OSError as error:
            raise MinidockError(f"cannot remove container {container.name}: {error}") from error


def resize(engine: Engine, reference: str, rows: int, columns: int) -> None:
    """Set the size of the container's terminal; Conflict when it does not run."""
    container = find(engine, reference)
    require(container.status, "resize", container.id, reference)
    shim = container.shim
    if shim is None:
        raise Conflict(f"container {container.id} is not running")
    shim.resize(rows, columns)
    attributes = container.attributes(height=str(rows), width=str(columns))
    engine.events.publish("container", "resize", container.id, attributes)


def _signal_and_thaw(engine: Engine, container: Container, number: int) -> None:
    """Send a signal that is to end the program; a frozen one cannot take it, so it is let go on.

    Whoever has frozen it: below cgroup v1 not even SIGKILL ends what the freezer holds.
    """
    _signal(engine, container, number)
    if container.status == "paused":
        with contextlib.suppress(Conflict, NotFound):
            unpause(engine, container.id)
    with contextlib.suppress(OSError):
        cgroup = engine.cgroup(container)
        if cgroup.is_frozen():
            cgroup.thaw()


def _signal(engine: Engine, container: Container, number: int) -> None:
    """Send a signal to init by its pidfd; one that has ended in this moment is no error, since that is what
    follows.
    """
    with container.lock:
        pid, started = container.state.pid, container.state.start_time
    if pid <= 0:
        return
    try:
        descriptor = process.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if process.start_time(pid) == started:  # the number may be another process's by now
            process.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, FileNotFoundError):
        return
    finally:
        os.close(descriptor)
    engine.events.publish("container", "kill", container.id, container.attributes(signal=str(number)))


def _require_end(waiter: waiting.Waiter, container: Container) -> None:
    """Wait for the end of a killed program; a shim that does not tell of it (it is stopped) goes too.

    Without its shim the supervisor settles the container.
    """
    if waiter.wait(KILL_PATIENCE):
        return
    shim = container.shim
    if shim is not None and _is_dead(container):
        with contextlib.suppress(OSError):
            process.pidfd_send_signal(shim.pidfd, standard.SIGKILL)
        if waiter.wait(KILL_PATIENCE):
            return
    raise MinidockError(
        f"cannot stop container: {container.name}: tried to kill container, but did not receive an exit event"
    )


def _is_dead(container: Container) -> bool:
    """Tell whether init has ended; nobody may have reaped it yet."""
    try:
        descriptor = process.pidfd_open(container.state.pid)
    except OSError:
        return True
    try:
        is_other = process.start_time(container.state.pid) != container.state.start_time
        return is_other or process.has_exited(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _cgroup_step(container: Container, verb: str, step: Callable[[], None]) -> None:
    try:
        step()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):  # its cgroup is gone
            raise Conflict(f"container {container.id} is not running") from error
        raise MinidockError(f"cannot {verb} container {container.id}: {error}") from error
