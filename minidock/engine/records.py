"""A container's files on disk, and what happens to a damaged one.

`config.json` is durable and says what the container is; `state.json` (written by the daemon) and `exit.json`
(written by the shim) say what became of it and are false after a power cut anyway. Nothing on disk may keep
the daemon from starting: a directory that cannot be understood is moved aside whole, with a file that says
why. design.md section 4.
"""

import os
import time
from typing import TypeVar

import msgspec

from minidock import atomic
from minidock.engine.model import ContainerRecord, RunState
from minidock.errors import Damaged
from minidock.paths import Paths

CONFIG, STATE, EXIT = "config.json", "state.json", "exit.json"
Record = TypeVar("Record", bound=msgspec.Struct)
_GONE = ".removed-"  # a directory so named holds nothing that anybody needs


class Exit(msgspec.Struct, kw_only=True):
    """`exit.json`: how one run ended. `finished_at` is RFC 3339."""

    exit_code: int
    oom_killed: bool = False
    finished_at: str = ""
    error: str = ""


def encode(value: msgspec.Struct) -> bytes:
    """Return `value` as indented, newline-terminated JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_config(directory: str, record: ContainerRecord) -> None:
    """Write config.json: durable, unless the container goes away at its end anyway."""
    write = atomic.write_state if record.host_config.auto_remove else atomic.write_durable
    write(os.path.join(directory, CONFIG), encode(record))


def write_state(directory: str, state: RunState) -> None:
    """Write state.json."""
    atomic.write_state(os.path.join(directory, STATE), encode(state))


def read_config(directory: str) -> ContainerRecord:
    """Read config.json; Damaged names the file and the member that is wrong."""
    return _read(os.path.join(directory, CONFIG), ContainerRecord)


def read_state(directory: str) -> RunState | None:
    """Read state.json; None when the container was never started. Damaged names the file."""
    return _read_if_present(os.path.join(directory, STATE), RunState)


def read_exit(directory: str) -> Exit | None:
    """Read the shim's exit.json; None when the last run has not ended (or its shim could not say so)."""
    return _read_if_present(os.path.join(directory, EXIT), Exit)


def forget_exit(directory: str) -> None:
    """Remove exit.json, so that a new run's end is not taken from an old one."""
    try:
        os.unlink(os.path.join(directory, EXIT))
    except FileNotFoundError:
        pass


def container_directories(paths: Paths) -> list[str]:
    """Return the ids for which a directory exists."""
    return sorted(name for name in os.listdir(paths.containers) if not name.startswith("."))


def set_aside(paths: Paths, identifier: str) -> str:
    """Take the container's directory out of the list of containers in one step; return where it is now."""
    hidden = os.path.join(paths.containers, _GONE + identifier)
    os.rename(paths.container(identifier), hidden)
    return hidden


def abandoned(paths: Paths) -> list[str]:
    """Return directories that an interrupted removal or create has left."""
    hidden = [
        os.path.join(paths.containers, name)
        for name in os.listdir(paths.containers)
        if name.startswith(_GONE)
    ]
    unborn = [paths.container(name) for name in container_directories(paths)]
    return hidden + [
        directory for directory in unborn if not os.path.lexists(os.path.join(directory, CONFIG))
    ]


def quarantine(paths: Paths, identifier: str, reason: Damaged) -> str:
    """Move a container that cannot be understood out of the way, whole; return the sentence for the log."""
    place = os.path.join(paths.data_root, "quarantine", f"container-{identifier}-{time.time_ns()}")
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    os.rename(paths.container(identifier), place)
    atomic.write_state(os.path.join(place, "REASON"), f"{reason}\n".encode())
    return f"container {identifier}: {reason}; moved to {place}"


def _read_if_present(path: str, kind: type[Record]) -> Record | None:
    try:
        return _read(path, kind)
    except FileNotFoundError:
        return None


def _read(path: str, kind: type[Record]) -> Record:
    with open(path, "rb") as file:
        data = file.read()
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error
