"""The containers of an engine: the object behind each, and how a user's words find it.

A Container is the record on disk plus what only a living daemon has: its lock, its shim, who waits for it,
who attached before it started. Reading needs no lock, because a state is replaced whole and never changed in
place.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.engine import names, records
from minidock.engine.files_lease import TreeLease
from minidock.engine.model import ContainerRecord, RunState
from minidock.engine.transitions import RUNNING, UP
from minidock.errors import Conflict, InvalidParameter, NotFound

if TYPE_CHECKING:
    from minidock.engine.engine import Engine
    from minidock.engine.health import Monitor
    from minidock.engine.waiting import Waiter
    from minidock.runtime.client import Shim
    from minidock.runtime.requests import AttachClient


class Container:
    """One container. `lock` guards changes; take it after the engine's and never together with another
    container's.

    `parked` are clients that attached before the start: the container owns their descriptors. `is_kept` is
    set while a restart must not let `--rm` take the container away. `tree` is taken before `lock`.
    `restart_pause` is how many seconds the restart policy waited last; `health` belongs to the present run.
    """

    def __init__(self, record: ContainerRecord, directory: str, state: RunState | None = None) -> None:
        self.record = record
        self.directory = directory
        self.state = state or RunState()
        self.lock = threading.RLock()
        self.shim: Shim | None = None
        self.parked: list[AttachClient] = []
        self.waiters: set[Waiter] = set()
        self.is_kept = False
        self.restart_pause = 0.0
        self.health: Monitor | None = None
        self.tree = TreeLease()

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        """The name without a leading slash."""
        return self.record.name

    @property
    def tty(self) -> bool:
        return self.record.config.tty

    @property
    def status(self) -> str:
        return self.state.status

    @property
    def is_running(self) -> bool:
        """Whether processes of it exist (a paused container runs, in this sense)."""
        return self.state.status in RUNNING

    @property
    def is_up(self) -> bool:
        """Whether Docker calls it running: it also is between two runs of a restart policy."""
        return self.state.status in UP

    @property
    def log_path(self) -> str:
        """The json-file log, as Docker names it."""
        return os.path.join(self.directory, f"{self.id}-json.log")

    def change(self, **members: Any) -> None:
        """Replace members of the state, in memory and on disk. Call it with the lock held."""
        self.state = msgspec.structs.replace(self.state, **members)
        if os.path.isdir(
            self.directory
        ):  # somebody may have removed it by force: what runs must still be stopped
            records.write_state(self.directory, self.state)

    def close_parked(self) -> None:
        """End the streams of those who attached before the start."""
        while self.parked:
            os.close(self.parked.pop().descriptor)

    def attributes(self, **more: str) -> dict[str, str]:
        """Return what an event about this container says: labels, image, name, and `more`."""
        return {
            **(self.record.config.labels or {}),
            "image": self.record.config.image,
            "name": self.name,
            **more,
        }


def find(engine: Engine, reference: str) -> Container:
    """Return the container with this id, name, /name, PARENT/ALIAS of a link or unique beginning of an id.

    NotFound or InvalidParameter in Docker's words. An exact id comes before a name, a name before a
    beginning.
    """
    if reference in engine.containers:
        return engine.containers[reference]
    name = reference.removeprefix("/")
    owner = engine.names.owner(name)
    if owner is not None and owner in engine.containers:
        return engine.containers[owner]
    parent, _, alias = name.partition("/")
    owner = engine.names.owner(parent) if alias else None
    if owner is not None and owner in engine.containers:
        for target, given in map(link_parts, engine.containers[owner].record.host_config.links or ()):
            if given == alias:
                return find(engine, target)
    found = [
        identifier for identifier in list(engine.containers) if reference and identifier.startswith(reference)
    ]
    if len(found) > 1:
        raise InvalidParameter(f"Multiple IDs found with provided prefix: {reference}")
    container = engine.containers.get(found[0]) if found else None
    if container is None:
        raise NotFound(f"No such container: {reference}")
    return container


def link_parts(text: str) -> tuple[str, str]:
    """Return (target, alias) of a link, `TARGET[:ALIAS]`; InvalidParameter in Docker's words."""
    target, separator, alias = text.partition(":")
    if not target or (separator and not alias) or ":" in alias:
        raise InvalidParameter(f"bad format for links: {text}")
    if not separator:
        return target.lstrip("/"), target.lstrip("/")
    return target.lstrip("/"), alias.rpartition("/")[2]  # inspect's own form is /target:/name/alias


def rename(engine: Engine, reference: str, name: str) -> None:
    """Give the container another name; Conflict when it is taken, InvalidParameter when it is no name."""
    container = find(engine, reference)
    if not name:
        raise InvalidParameter("Neither old nor new names may be empty")
    try:
        name = names.check(name)
    except InvalidParameter as error:
        raise InvalidParameter(f"Error when allocating new name: {error}") from None
    with container.lock:
        old = container.name
        if name == old:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        if container.status == "removing":
            raise Conflict(f"container {container.id} is marked for removal and cannot be renamed")
        engine.names.reserve(name, container.id)
        record = msgspec.structs.replace(container.record, name=name)
        try:
            records.write_config(container.directory, record)
        except BaseException:
            engine.names.release(name, container.id)
            raise
        container.record = record
        engine.names.release(old, container.id)
    engine.events.publish("container", "rename", container.id, container.attributes(oldName=f"/{old}"))
