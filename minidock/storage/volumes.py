"""Volumes: directories that outlive containers, one directory of ours for each.

What a volume holds is the user's; beside it lies one small record. A volume is made under a temporary name
and renamed, and renamed away before it is removed, so a name that is here is a whole volume. Who uses one
is not recorded: the engine computes it from its containers, and only a container that is being made holds
its volumes here until it can be found there.

    DATA-ROOT/volumes/NAME/_data/         what containers see
    DATA-ROOT/volumes/NAME/volume.json    what `Volume` says
"""

import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from minidock import atomic
from minidock.errors import InvalidParameter, NotFound
from minidock.paths import Paths
from minidock.storage.trees import remove_tree

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
RECORD, DATA = "volume.json", "_data"
_TEMPORARY, _DAMAGED = ".tmp-", ".damaged-"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")


class Volume(msgspec.Struct, kw_only=True, frozen=True):
    """One volume. `created` is RFC 3339; `options` are the local driver's (type, device, o)."""

    name: str
    created: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None

    @property
    def needs_mount(self) -> bool:
        """Whether its content is another file system, which `options` describe."""
        return bool(self.options and (self.options.get("type") or self.options.get("device")))


class Holds:
    """The volumes that one piece of work keeps from being removed, and those that it made."""

    def __init__(self, store: "VolumeStore") -> None:
        self._store = store
        self.names: list[str] = []
        self.made: list[str] = []

    def create(
        self, name: str, created: str, labels: Mapping[str, str] | None, options: Mapping[str, str] | None
    ) -> Volume:
        """Return the volume `name`, made if it is not there, and hold it."""
        with self._store.lock:
            volume, is_new = self._store.create(name, created, labels, options)
            self._store.held[name] += 1
            self.names.append(name)
            if is_new:
                self.made.append(name)
            return volume


class VolumeStore:
    """All volumes of one engine; safe for many threads. `lock` guards their names."""

    def __init__(self, paths: Paths) -> None:
        self.root = os.path.join(paths.data_root, "volumes")
        self.lock = threading.RLock()
        self.held: Counter[str] = Counter()
        self.problems: list[str] = []
        self._volumes: dict[str, Volume] = {}
        os.makedirs(self.root, mode=0o701, exist_ok=True)
        os.chmod(self.root, 0o701)
        self._open()

    def volumes(self) -> list[Volume]:
        """Return all volumes by name."""
        with self.lock:
            return sorted(self._volumes.values(), key=lambda volume: volume.name)

    def volume(self, name: str) -> Volume:
        """Return one volume; NotFound in Docker's words."""
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def data(self, name: str) -> str:
        """Return the directory that containers see."""
        return os.path.join(self.root, self.volume(name).name, DATA)

    def create(
        self,
        name: str,
        created: str,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> tuple[Volume, bool]:
        """Return the volume `name` and whether it is new; one that exists stays as it is. InvalidParameter
        for a bad name.
        """
        check_name(name)
        with self.lock:
            if name in self._volumes:
                return self._volumes[name], False
            volume = Volume(
                name=name,
                created=created,
                labels=dict(labels or {}) or None,
                options=dict(options or {}) or None,
            )
            temporary = os.path.join(self.root, _TEMPORARY + secrets.token_hex(8))
            os.mkdir(temporary, 0o701)
            try:
                os.chmod(temporary, 0o701)
                os.mkdir(os.path.join(temporary, DATA))
                os.chmod(os.path.join(temporary, DATA), 0o755)
                record = msgspec.json.format(msgspec.json.encode(volume), indent=2) + b"\n"
                atomic.write_durable(os.path.join(temporary, RECORD), record)
                os.rename(temporary, os.path.join(self.root, name))
            except BaseException:
                remove_tree(temporary)
                raise
            atomic.sync_directory(self.root)
            self._volumes[name] = volume
            return volume, True

    def remove(self, name: str) -> None:
        """Remove a volume with all its content; NotFound. Whether it may go is the engine's question."""
        with self.lock:
            path = os.path.join(self.root, self.volume(name).name)
            trash = os.path.join(self.root, _TEMPORARY + secrets.token_hex(8))
            os.rename(path, trash)
            del self._volumes[name]
        remove_tree(trash)

    @contextmanager
    def holding(self) -> Iterator[Holds]:
        """Give out holds for a container that is being made; if that fails, the volumes made for it go
        again.
        """
        holds = Holds(self)
        try:
            yield holds
        except BaseException:
            self._release(holds)
            with self.lock:
                doomed = [name for name in holds.made if not self.held[name] and name in self._volumes]
                for name in doomed:
                    self.remove(name)
            raise
        self._release(holds)

    def _release(self, holds: Holds) -> None:
        with self.lock:
            self.held.subtract(holds.names)
            self.held += Counter()

    def _open(self) -> None:
        """Read all records; remove what an interrupted work left, set aside what cannot be read."""
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            if name.startswith(_TEMPORARY):
                remove_tree(path)
            elif _NAME.match(name):
                try:
                    with open(os.path.join(path, RECORD), "rb") as file:
                        volume = msgspec.json.decode(file.read(), type=Volume)
                    if volume.name != name or not os.path.isdir(os.path.join(path, DATA)):
                        raise ValueError("it describes another volume, or has no content")
                except (OSError, ValueError, RecursionError) as error:
                    aside = os.path.join(self.root, f"{_DAMAGED}{name}-{secrets.token_hex(4)}")
                    os.rename(path, aside)
                    self.problems.append(f"damaged volume {name} set aside as {aside}: {error}")
                else:
                    self._volumes[name] = volume


def check_name(name: str) -> None:
    """Raise InvalidParameter for what cannot be a volume's name."""
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.match(name) or len(name) > 255:
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
