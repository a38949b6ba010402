"""exec: one more program in a running container, from the request for it to its exit code.

The shim runs it and tells of its end; here are its record, who it runs as, and what its life publishes.
Docker keeps an ended exec for those who ask for its exit code afterwards (the CLI does so once, when the
stream has ended), so the last thousand are remembered. An exec outlives the daemon: the shim knows it, and
the next daemon takes it over. Docker Engine API, POST /containers/{id}/exec.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import ids
from minidock.engine import filters, spec, spec_security, users
from minidock.engine.containers import Container, find
from minidock.engine.views import ExecInspection, ExecProcess
from minidock.errors import Conflict, InvalidParameter, MinidockError, NotFound, StartFailed
from minidock.kernel import process
from minidock.runtime.requests import AttachClient, ExecRequest

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

REMEMBERED = 1024  # ended execs that can still be inspected
NOT_STARTED = 126  # what Docker records for an exec that failed before its program
LOST = 137
PATIENCE = 10.0  # seconds until the shim's news of a start or an end has come: it drains output for 2


class ExecConfig(msgspec.Struct, kw_only=True):
    """What to run, as the request says it."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | None = None


class Exec:
    """One exec: created, running from `started` on, over when `ended` is set (or it could not start)."""

    def __init__(self, identifier: str, container: Container, config: ExecConfig) -> None:
        self.id = identifier
        self.container = container
        self.config = config
        self.lock = threading.Lock()
        self.is_claimed = False
        self.pid = self.start_time = 0
        self.exit_code: int | None = None
        self.started, self.ended = threading.Event(), threading.Event()

    @property
    def is_running(self) -> bool:
        return self.is_claimed and not self.ended.is_set()

    def attributes(self, **more: str) -> dict[str, str]:
        """Return what an event about this exec says."""
        return self.container.attributes(execID=self.id, **more)

    def command(self) -> str:
        """Return the command line as events show it."""
        return " ".join(self.config.cmd or ())


class Table:
    """The execs of one engine by id. Safe to use from any thread."""

    def __init__(self) -> None:
        self._by_id: dict[str, Exec] = {}
        self._over: deque[str] = deque()
        self._lock = threading.Lock()

    def add(self, one: Exec) -> None:
        """Remember a new exec."""
        with self._lock:
            self._by_id[one.id] = one

    def find(self, identifier: str) -> Exec | None:
        """Return the exec with exactly this id."""
        return self._by_id.get(identifier)

    def retire(self, one: Exec) -> None:
        """The exec is over: forget the one that ended longest ago when there are too many."""
        with self._lock:
            self._over.append(one.id)
            while len(self._over) > REMEMBERED:
                self._by_id.pop(self._over.popleft(), None)

    def of(self, container: Container) -> list[Exec]:
        """Return the execs of the container that are not over."""
        with self._lock:
            return [
                one for one in self._by_id.values() if one.container is container and not one.ended.is_set()
            ]

    def forget(self, container: Container) -> None:
        """The container is removed, and its execs with it."""
        with self._lock:
            for identifier in [key for key, one in self._by_id.items() if one.container is container]:
                del self._by_id[identifier]


def create(engine: Engine, reference: str, config: ExecConfig) -> str:
    """Prepare an exec and return its id; Conflict when the container does not run."""
    container = find(engine, reference)
    _require_running(container, reference)
    if not config.cmd or not config.cmd[0]:
        raise InvalidParameter("No exec command specified")
    return prepare(engine, container, ids.random_id(), config).id


def prepare(engine: Engine, container: Container, identifier: str, config: ExecConfig) -> Exec:
    """Make the record of an exec that is known to be possible."""
    one = Exec(identifier, container, config)
    engine.execs.add(one)
    engine.events.publish("container", f"exec_create: {one.command()}", container.id, one.attributes())
    return one


def claim(engine: Engine, identifier: str) -> Exec:
    """Take the exec for its one start, before the client is told that it will come; Conflict when it was
    taken.
    """
    one = get(engine, identifier)
    _require_running(one.container, one.container.id)
    with one.lock:
        if one.ended.is_set():
            raise Conflict(f"exec command {one.id} has already run")
        if one.is_claimed:
            raise Conflict(f"exec command {one.id} is already running")
        one.is_claimed = True
    return one


def start(engine: Engine, one: Exec, client: AttachClient | None = None) -> None:
    """Run a claimed exec; StartFailed (and its exit code is recorded) when the program cannot be run.

    The client's descriptor stays the caller's.
    """
    container = one.container
    engine.events.publish("container", f"exec_start: {one.command()}", container.id, one.attributes())
    try:
        shim = container.shim
        if shim is None:
            raise Conflict(f"container {container.id} is not running")
        pid = shim.execute(_request(engine, one, client))
    except Exception as error:
        failure = error if isinstance(error, StartFailed) else StartFailed(str(error), NOT_STARTED)
        _finish(engine, one, _exit_code(failure))
        if isinstance(error, MinidockError):
            raise failure from error
        raise
    _note_process(one, pid)


def ended(engine: Engine, identifier: str, exit_code: int) -> None:
    """The shim says that an exec is over."""
    one = engine.execs.find(identifier)
    if one is None or one.ended.is_set():
        return
    _finish(engine, one, exit_code)
    attributes = one.attributes(exitCode=str(exit_code))
    engine.events.publish("container", "exec_die", one.container.id, attributes)


def lose(engine: Engine, container: Container) -> None:
    """The container has ended: so have its execs, also those of which nobody could tell."""
    for one in engine.execs.of(container):
        if one.is_claimed:
            ended(engine, one.id, LOST)


def resume(engine: Engine, container: Container, known: list[dict[str, Any]]) -> None:
    """Take over the execs that an earlier daemon started; `known` is what the shim says of them."""
    for facts in known:
        described = facts["process"]
        config = ExecConfig(
            cmd=list(described.get("args", ())),
            tty=bool(described.get("terminal")),
            attach_stdin=bool(facts["stdin"]),
        )
        one = Exec(facts["id"], container, config)
        one.is_claimed = True
        engine.execs.add(one)
        if facts["exit_code"] is None:
            _note_process(one, facts["pid"])
        else:
            ended(engine, one.id, facts["exit_code"])


def resize(engine: Engine, identifier: str, rows: int, columns: int) -> None:
    """Set the size of the exec's terminal; a client may ask a moment before the program runs."""
    one = get(engine, identifier)
    if not one.is_claimed or not one.started.wait(PATIENCE):
        raise InvalidParameter("exec process is not started")
    shim = one.container.shim
    if shim is None or one.ended.is_set():
        raise Conflict(f"exec command {one.id} is not running")
    shim.resize(rows, columns, one.id)


def inspect(engine: Engine, identifier: str) -> ExecInspection:
    """Return what `GET /exec/{id}/json` shows.

    A client asks for the exit code as soon as its stream has ended, which may be before our own news of the
    end, and even of the start: a start under way is waited for, and so is the report of a program that is
    gone.
    """
    one = get(engine, identifier)
    if one.is_running and one.started.wait(PATIENCE) and not _is_alive(one):
        one.ended.wait(PATIENCE)
    config = one.config
    words = config.cmd or [""]
    return ExecInspection(
        id=one.id,
        running=one.is_running,
        exit_code=one.exit_code,
        process_config=ExecProcess(
            tty=config.tty,
            entrypoint=words[0],
            arguments=words[1:],
            privileged=config.privileged,
            user=config.user or one.container.record.config.user or None,
        ),
        open_stdin=config.attach_stdin,
        open_stderr=config.attach_stderr,
        open_stdout=config.attach_stdout,
        can_remove=False,
        container_id=one.container.id,
        detach_keys=config.detach_keys,
        pid=one.pid,
    )


def get(engine: Engine, identifier: str) -> Exec:
    """Return the exec; NotFound in Docker's words."""
    one = engine.execs.find(identifier)
    if one is None or one.container.status == "gone":
        raise NotFound(f"No such exec instance: {identifier}")
    return one


def _require_running(container: Container, name: str) -> None:
    if container.status == "paused":
        raise Conflict(f"container {name} is paused, unpause the container before exec")
    if container.status == "restarting":
        raise Conflict(f"container {name} is restarting, wait until the container is running")
    if not container.is_running:
        raise Conflict(f"container {container.id} is not running")


def _request(engine: Engine, one: Exec, client: AttachClient | None) -> ExecRequest:
    return ExecRequest(
        identifier=one.id,
        process=process_of(one.container, one.config),
        seccomp=filters.seccomp_filter(engine, one.container),
        stdin=one.config.attach_stdin and client is not None,
        clients=[client] if client else [],
    )


def process_of(container: Container, config: ExecConfig) -> dict[str, Any]:
    """Return the spec's process object: the container's own, but for what the request says.

    The user is looked up in the container's present files. With `privileged` the program gets every
    capability, yet the container's seccomp filter stays, as in Docker.
    """
    shim, record = container.shim, container.record
    if shim is None:
        raise Conflict(f"container {container.id} is not running")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise StartFailed("OCI runtime exec failed: exec failed: Cwd must be an absolute path", NOT_STARTED)
    root = shim.root_descriptor()
    try:
        user = config.user or record.config.user
        identity = users.resolve(root, user, record.host_config.group_add or ())
    finally:
        os.close(root)
    described = spec.process(record, identity)
    own = record.config
    described["args"] = list(config.cmd or ())
    described["env"] = spec.environment(
        own.hostname, config.tty, [*(own.env or ()), *(config.env or ())], identity.home
    )
    described["cwd"] = spec.working_directory(config.working_dir or own.working_dir)
    described["terminal"] = config.tty
    described.pop("consoleSize", None)
    if config.tty and config.console_size and all(config.console_size):
        rows, columns = config.console_size
        described["consoleSize"] = {"height": rows, "width": columns}
    if config.privileged:
        every = list(spec_security.capability_set((), (), privileged=True))
        described["capabilities"] = {"bounding": every, "effective": every, "permitted": every}
    return described


def _note_process(one: Exec, pid: int) -> None:
    one.pid = pid
    try:
        one.start_time = process.start_time(pid)
    except OSError:
        one.start_time = -1  # it is over already
    one.started.set()


def _is_alive(one: Exec) -> bool:
    try:
        return process.start_time(one.pid) == one.start_time
    except OSError:
        return False


def _exit_code(failure: StartFailed) -> int:
    """Return what Docker records: it reads the words, whichever step they are about."""
    if failure.exit_code in (126, 127):
        return failure.exit_code
    return 127 if "no such file or directory" in str(failure) else NOT_STARTED


def _finish(engine: Engine, one: Exec, exit_code: int) -> None:
    one.exit_code = exit_code
    one.ended.set()
    one.started.set()
    engine.execs.retire(one)
