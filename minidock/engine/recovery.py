"""Finding the containers again when the engine starts: what is on disk, what still runs, what ended
meanwhile.

The daemon may have been killed at any moment, also between two writes. So nothing is believed that can be
asked: a shim that answers means "running", an exit.json means "ended so", and a container that ran in this
boot and has neither has lost its shim. Nothing found here may keep the engine from starting. design.md
sections 1, 2 and 4.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import execs, health, networking, records, removal, supervision, times, waiting
from minidock.engine.containers import Container
from minidock.engine.model import RunState
from minidock.engine.transitions import RUNNING
from minidock.errors import Damaged, MinidockError
from minidock.runtime.client import Shim

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
START_PATIENCE = 1.0  # seconds for a shim that was being made when the last daemon died to open its socket
END_PATIENCE = 5.0  # seconds for one that is ending to write exit.json: it drains its streams for at most 2
UNKNOWN_END = 255  # what Docker shows for a container that was running when the host went down


def recover(engine: Engine) -> None:
    """Load every container, reconnect to those that run, settle those that ended, sweep what nobody names."""
    for directory in records.abandoned(engine.paths):
        engine.sweeper.remove(directory)
    began = time.monotonic()
    for identifier in records.container_directories(engine.paths):
        if os.path.lexists(os.path.join(engine.paths.container(identifier), records.CONFIG)):
            try:
                _recover_one(engine, identifier, began)
            except (Damaged, MinidockError, OSError) as error:
                _give_up(engine, identifier, error)
    engine.networks.sweep(engine.networks_in_use())
    _sweep_cgroups(engine)
    _sweep_shim_directories(engine)
    engine.images.sweep(engine.layers_in_use())
    engine.problems.extend(getattr(engine.images, "problems", ()))
    engine.problems.extend(engine.networks.problems)


def _recover_one(engine: Engine, identifier: str, began: float) -> None:
    directory = engine.paths.container(identifier)
    record = records.read_config(directory)
    if record.id != identifier:
        raise Damaged(f"{directory}/{records.CONFIG} is damaged: it is about container {record.id}")
    container = Container(record, directory)
    try:
        container.state = records.read_state(directory) or RunState()
        known = True
    except Damaged as damage:
        engine.problems.append(f"{damage}; rebuilt")
        known = False
    engine.names.reserve(record.name, identifier)
    engine.containers[identifier] = container
    shim = _find_shim(engine, container, began)
    try:
        if shim is not None:
            _resume(engine, container, shim)
        else:
            _settle(engine, container, known)
    except OSError as error:  # a full disk, say: that is no reason to lose a container that was read
        engine.problems.append(f"container {identifier}: {error}")


def _find_shim(engine: Engine, container: Container, began: float) -> Shim | None:
    """Return the shim of a container that runs, None when it does not; what a dead shim has left is removed.

    Its directory is made before it and goes as the last thing it does. One that is just starting (no socket
    yet) or just ending (no answer, no exit.json yet) is waited for; `began` is when recovery did.
    """
    directory = engine.paths.shim_directory(container.id)
    while os.path.lexists(directory):
        waited = time.monotonic() - began
        try:
            return Shim.reconnect(directory)
        except ConnectionRefusedError:
            is_dead = True
        except FileNotFoundError:
            is_dead = waited > START_PATIENCE
        except (OSError, KeyError):  # it is ending: it has no pid to tell
            is_dead = waited > END_PATIENCE
        if _has_ended(container) and not is_dead:
            return None
        if is_dead:
            supervision.bury(engine, container)
        else:
            time.sleep(0.02)
    return None


def _has_ended(container: Container) -> bool:
    try:
        return records.read_exit(container.directory) is not None
    except Damaged:
        return False


def _resume(engine: Engine, container: Container, shim: Shim) -> None:
    """The container runs: take its shim over."""
    frozen = False
    try:
        frozen = engine.cgroup(container).is_frozen()
    except OSError:
        log.exception("cannot ask whether container %s is paused", container.id)
    with container.lock:
        container.shim = shim
        execs.resume(engine, container, shim.execs)
        engine.supervisor.watch(container, shim)
    networking.resume(engine, container)
    started = container.state.started_at
    with container.lock:
        container.change(
            status="paused" if frozen else "running",
            pid=shim.pid,
            start_time=shim.start_time,
            boot_id=engine.host.boot_id,
            has_been_started=True,
            started_at=times.now() if times.is_zero(started) or not container.is_running else started,
        )
        health.watch(engine, container)


def _settle(engine: Engine, container: Container, known: bool) -> None:
    """The container does not run: find out how its last run ended, if there was one that we have not
    recorded.
    """
    state = container.state
    try:
        end = records.read_exit(container.directory)
    except Damaged as damage:
        engine.problems.append(f"{damage}; ignored")
        end = None
    if state.status in RUNNING:
        end = end or _unrecorded_end(engine, container)
    elif not known:
        end = end or records.Exit(exit_code=UNKNOWN_END)
    elif end is not None and end.finished_at == state.finished_at:
        end = None  # recorded already
    if end is not None:
        container.state = msgspec.structs.replace(state, status="running", has_been_started=True)
        supervision.ended(engine, container, end)
    elif container.record.host_config.auto_remove and state.has_been_started:
        removal.discard(engine, container)  # the daemon was killed between the end and the removal
    waiting.announce(container)


def _unrecorded_end(engine: Engine, container: Container) -> records.Exit:
    if container.state.boot_id != engine.host.boot_id:
        return records.Exit(exit_code=UNKNOWN_END)
    supervision.bury(engine, container)
    return supervision.LOST


def _give_up(engine: Engine, identifier: str, error: Exception) -> None:
    """Move what cannot be loaded out of the way; whatever of it runs is killed, since nobody could stop it
    later.
    """
    container = engine.containers.pop(identifier, None)
    if container is not None:
        engine.names.release(container.name, identifier)
    _kill_unknown(engine, identifier)
    reason = error if isinstance(error, Damaged) else Damaged(str(error))
    try:
        engine.problems.append(records.quarantine(engine.paths, identifier, reason))
    except OSError as failure:
        engine.problems.append(f"container {identifier}: {reason}; and it cannot be moved: {failure}")


def _kill_unknown(engine: Engine, identifier: str) -> None:
    """Kill what runs in the cgroup that a container of this id has by default."""
    try:
        cgroup = engine.host.cgroups.at(f"/{engine.configuration.cgroup_parent.strip('/')}/{identifier}")
        if cgroup.exists():
            cgroup.kill()
            cgroup.delete()
    except (OSError, ValueError) as error:
        engine.problems.append(f"what runs of container {identifier} cannot be killed: {error}")


def _sweep_cgroups(engine: Engine) -> None:
    """Remove the empty cgroups below our parent that belong to no container that runs."""
    parent = engine.configuration.cgroup_parent.strip("/")
    running = {container.id for container in engine.containers.values() if container.is_running}
    try:
        directories = set(engine.host.cgroups.at(f"/{parent}").paths().values())
        names = {
            name for directory in directories if os.path.isdir(directory) for name in os.listdir(directory)
        }
        for name in sorted(names - running):
            if len(name) == 64 and not name.strip("0123456789abcdef"):
                cgroup = engine.host.cgroups.at(f"/{parent}/{name}")
                if not cgroup.processes():  # with processes in it, it may be another engine's
                    cgroup.delete()
    except OSError as error:
        engine.problems.append(f"cgroups below /{parent} cannot be swept: {error}")


def _sweep_shim_directories(engine: Engine) -> None:
    """Remove what killed shims of containers that are gone have left; a living one cleans up after itself."""
    parent = os.path.dirname(engine.paths.shim_directory("x"))
    for name in set(os.listdir(parent)) - set(engine.containers):
        directory = os.path.join(parent, name)
        if supervision.is_deserted(directory) or not os.listdir(directory):
            shutil.rmtree(directory, ignore_errors=True)
