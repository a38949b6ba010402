"""start: the container's root, its spec, and the hand-over to the runtime.

Every acquisition has its undo on the next line, so a start that fails at any step leaves what was there
before. What the daemon needs to find the container again is on disk before the shim is made: the daemon may
be killed at any moment.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import (
    etc_files,
    records,
    removal,
    spec,
    spec_mounts,
    spec_security,
    supervision,
    times,
    users,
    validation,
    waiting,
)
from minidock.engine.containers import Container
from minidock.engine.transitions import require
from minidock.errors import InvalidParameter, MinidockError, StartFailed
from minidock.kernel import seccomp, seccomp_profile
from minidock.runtime.client import Shim
from minidock.runtime.requests import (
    STDIN_KEEP,
    STDIN_NONE,
    STDIN_ONCE,
    AttachClient,
    LaunchRequest,
    LogOptions,
)

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
SETUP_FAILED = 128  # what Docker records for a start that failed before the program


def start(engine: Engine, container: Container, reference: str, trace: int = -1) -> None:
    """Start `container`; StartFailed with everything undone, and with `--rm` the container removed."""
    with container.lock:
        status = require(container.status, "start", container.id, reference)
        try:
            shim = _launch(engine, container, trace)
        except Exception as error:
            failure = _failure(error)
            _record_failure(engine, container, failure)
            raise failure from error
        container.shim = shim
        container.change(
            status=status,
            pid=shim.pid,
            start_time=shim.start_time,
            boot_id=engine.host.boot_id,
            exit_code=0,
            error="",
            oom_killed=False,
            started_at=times.now(),
            has_been_started=True,
            stopped_by_user=False,
        )
        engine.events.publish("container", "start", container.id, container.attributes())
        engine.supervisor.watch(container, shim)


def _launch(engine: Engine, container: Container, trace: int) -> Shim:
    record = container.record
    with ExitStack() as undo:
        undo.callback(container.close_parked)
        clients = _still_there(container)
        records.forget_exit(container.directory)
        etc_files.write(record, container.directory)
        spec_mounts.make_bind_sources(record.host_config)
        root = open_root(engine, container)
        undo.callback(os.close, root)
        identity = users.resolve(root, record.config.user, record.host_config.group_add or ())
        request = LaunchRequest(
            identifier=container.id,
            directory=container.directory,
            socket_directory=engine.paths.shim_directory(container.id),
            spec=spec.build(
                record, identity, container.directory, engine.root_path, engine.cgroup_path(container)
            ),
            rootfs=root,
            seccomp=seccomp_filter(engine, container),
            stdin=_stdin(container),
            init=bool(record.host_config.init),
            log=_log(container),
            clients=clients,
            trace=trace,
        )
        supervision.await_former_shim(engine, container)
        failed = undo.enter_context(ExitStack())
        os.makedirs(
            request.socket_directory, mode=0o700, exist_ok=True
        )  # from here on, recovery looks for a shim
        failed.callback(_remove_directory, request.socket_directory)
        shim = engine.spawner.launch(request)
        failed.pop_all()
        return shim


def open_root(engine: Engine, container: Container) -> int:
    """Mount the container's tree, detached, and return its descriptor; the caller closes it.

    With `--rm` nothing in it needs to survive, so it is mounted volatile: otherwise its last unmount syncs
    the whole file system (45 ms against 3 ms, measured). The mark that a volatile mount leaves must go before
    the next one.
    """
    upper, work = (os.path.join(container.directory, "rw", part) for part in ("diff", "work"))
    shutil.rmtree(os.path.join(work, "work", "incompat"), ignore_errors=True)
    volatile = container.record.host_config.auto_remove
    above = (engine.init_layer,)
    return engine.layers.overlay(container.record.layers, upper, work, volatile=volatile, above=above)


def seccomp_filter(engine: Engine, container: Container) -> bytes:
    """Return the compiled filter for the container, b"" when it is unconfined. Compiled once and kept."""
    host = container.record.host_config
    choice = spec_security.seccomp_choice(host)
    if choice == spec_security.UNCONFINED:
        return b""
    allowed = spec_security.capability_set(host.cap_add or (), host.cap_drop or (), host.privileged)
    key = (choice, allowed)
    if key not in engine.seccomp_filters:
        machine = engine.host
        if choice == spec_security.BUILTIN:
            profile = seccomp_profile.docker_default(allowed, machine.machine, machine.kernel)
        else:
            profile = _custom_profile(choice, allowed, engine)
        if len(engine.seccomp_filters) > 64:  # custom profiles come from users and could be endless
            engine.seccomp_filters.clear()
        engine.seccomp_filters[key] = seccomp.compile_filter(profile, engine.paths.seccomp_cache)
    return engine.seccomp_filters[key]


def _custom_profile(text: str, allowed: tuple[str, ...], engine: Engine) -> dict[str, object]:
    try:
        document = msgspec.json.decode(text)
        if not isinstance(document, dict):
            raise ValueError("it is not an object")
        return seccomp_profile.resolve(document, allowed, engine.host.machine, engine.host.kernel)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error


def _failure(error: Exception) -> StartFailed:
    """Return `error` as the StartFailed it means to the user."""
    if isinstance(error, StartFailed):
        return error
    if isinstance(error, MinidockError):
        return StartFailed(str(error))
    if isinstance(error, OSError):
        notes = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        about = f" {error.filename}" if error.filename else ""
        return StartFailed(f"{notes}{(error.strerror or str(error)).lower()}{about}")
    log.exception("a start failed in an unforeseen way")
    return StartFailed(f"the start failed: {type(error).__name__}: {error}")


def _record_failure(engine: Engine, container: Container, failure: StartFailed) -> None:
    """Keep what inspect shows of a failed start; the status stays what it was, as in Docker."""
    code = SETUP_FAILED if failure.exit_code == 125 else failure.exit_code
    try:
        container.change(exit_code=code, error=str(failure), pid=0)
    except OSError:
        log.exception("cannot record the failed start of %s", container.id)
    waiting.announce(container)
    if container.record.host_config.auto_remove and not container.is_kept:
        removal.discard(engine, container)


def _still_there(container: Container) -> list[AttachClient]:
    """Return those of the parked clients that have not hung up; a half-closed one is still reading."""
    poller = select.poll()
    for client in container.parked:
        poller.register(client.descriptor, 0)
    gone = {descriptor for descriptor, events in poller.poll(0) if events & (select.POLLHUP | select.POLLERR)}
    return [client for client in container.parked if client.descriptor not in gone]


def _stdin(container: Container) -> str:
    config = container.record.config
    if not config.open_stdin:
        return STDIN_NONE
    return STDIN_ONCE if config.stdin_once else STDIN_KEEP


def _log(container: Container) -> LogOptions:
    host = container.record.host_config
    if host.log_config.type == "none":
        return LogOptions()
    max_size, max_file = validation.log_options(host)
    return LogOptions("json-file", container.log_path, max_size, max_file)


def _remove_directory(path: str) -> None:
    """Remove an empty directory, if it is there and empty."""
    with suppress(OSError):
        os.rmdir(path)
