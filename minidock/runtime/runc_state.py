"""What minidock-runc remembers of a container between two commands: one directory with state.json and the
start fifo.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field

from minidock import atomic
from minidock.errors import Conflict, InvalidParameter, NotFound
from minidock.kernel import process

DEFAULT_ROOT = "/run/minidock-runc"
FIFO = "start.fifo"
_NAME = re.compile(r"[A-Za-z0-9_+.-]+")


@dataclass(frozen=True)
class State:
    """A created container. `start_time` (clock ticks, from /proc/PID/stat) tells it from a later process of
    that pid.
    """

    id: str
    bundle: str
    pid: int
    start_time: int
    created: str
    cgroup: str
    rootfs: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        try:
            return process.start_time(self.pid) == self.start_time and not _is_zombie(self.pid)
        except OSError:
            return False


def directory(root: str, identifier: str) -> str:
    """Return the container's directory; the name must not be able to leave `root`."""
    if not _NAME.fullmatch(identifier) or identifier in (".", ".."):
        raise InvalidParameter(f"invalid container ID format: {identifier!r}")
    return os.path.join(root, identifier)


def reserve(root: str, identifier: str) -> str:
    """Make the directory and its fifo; Conflict when the name is taken."""
    path = directory(root, identifier)
    os.makedirs(root, mode=0o711, exist_ok=True)
    try:
        os.mkdir(path, 0o711)
    except FileExistsError as error:
        raise Conflict("container with given ID already exists") from error
    os.mkfifo(os.path.join(path, FIFO), 0o622)
    return path


def save(root: str, state: State) -> None:
    """Write state.json."""
    atomic.write_state(os.path.join(directory(root, state.id), "state.json"), atomic.to_json(asdict(state)))


def load(root: str, identifier: str) -> State:
    """Read the state of container `identifier`."""
    try:
        with open(os.path.join(directory(root, identifier), "state.json"), "rb") as file:
            return State(**json.load(file))
    except FileNotFoundError as error:
        raise NotFound("container does not exist") from error


def forget(root: str, identifier: str) -> None:
    """Remove the directory."""
    shutil.rmtree(directory(root, identifier), ignore_errors=True)


def status(root: str, state: State) -> str:
    """Return `created`, `running` or `stopped`."""
    if not state.is_alive:
        return "stopped"
    return "created" if os.path.exists(os.path.join(directory(root, state.id), FIFO)) else "running"


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
