"""The Engine: everything one daemon owns, and nothing that a module could own instead.

Many engines can share a host, so all state hangs on this object: stores, containers, names, events, the
spawner, the threads that supervise and clean. Verbs are functions of the modules beside this one and take it
as their first argument.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from minidock.engine import events, execs, host, init_layer, names, recovery
from minidock.engine.containers import Container
from minidock.engine.mounts_sources import MountedVolumes
from minidock.engine.networks import Networks
from minidock.engine.own_cgroup import OwnCgroup
from minidock.engine.restarting import Restarter
from minidock.engine.supervision import Supervisor
from minidock.engine.sweeping import Sweeper
from minidock.errors import Conflict, InvalidParameter
from minidock.kernel import cgroups
from minidock.network.names import NameServer
from minidock.paths import Paths
from minidock.runtime.client import Replacement, Spawner
from minidock.storage.images import ImageStore
from minidock.storage.volumes import VolumeStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configuration:
    """How one engine runs.

    `replacements` are the chapters' seams: ("module:function", "/path/file.py"). `log_options` are the
    defaults of the json-file log (max-size, max-file). With `own_cgroup` this process moves to the leaf
    `engine` of the cgroup parent. `bridge` names the default network's bridge ("": one of the engine's own;
    "none": that network has a loopback only) and `bip` is its "address/prefix" ("": chosen).
    """

    paths: Paths = field(default_factory=Paths)
    cgroup_parent: str = "/minidock"
    labels: tuple[str, ...] = ()
    debug: bool = False
    log_options: Mapping[str, str] = field(default_factory=dict)
    replacements: tuple[tuple[str, str], ...] = ()
    own_cgroup: bool = True
    bridge: str = "none"
    bip: str = ""


class Engine:
    """One running engine; make it with `Engine.open`. `lock` guards changes of `containers`."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.paths = configuration.paths
        self.host = host.examine()
        self.lock = threading.Lock()
        self.containers: dict[str, Container] = {}
        self.names = names.NameTable()
        self.events = events.Bus()
        self.execs = execs.Table()
        self.seccomp_filters: dict[tuple[str, tuple[str, ...]], bytes] = {}
        self.problems: list[str] = []  # what was found damaged at the start, for the log and `info`
        _make_directories(self.paths)
        self.images = ImageStore(self.paths)
        self.layers = self.images.layers
        self.init_layer = init_layer.ensure(self.paths.data_root)
        self.root_path = os.path.join(
            self.paths.exec_root, "rootfs"
        )  # where each container's own mounts hold its root
        self.networks = Networks(self.paths, configuration.bridge, configuration.bip)
        self.volumes = VolumeStore(self.paths)
        self.mounted_volumes = MountedVolumes()
        self.problems += self.volumes.problems
        self.name_server = NameServer()
        self.sweeper = Sweeper()
        self.supervisor = Supervisor(self)
        self.restarter = Restarter(self)
        self._lock_file = -1
        self._own_cgroup: OwnCgroup | None = None
        self.spawner: Spawner

    @classmethod
    def open(cls, configuration: Configuration) -> "Engine":
        """Start an engine: lock its directories, start the spawner, find its containers again, supervise
        them.

        Conflict when another engine runs with the same directories.
        """
        _prepare_types()
        engine = cls(configuration)
        engine._lock_file = _lock(configuration.paths.data_root)
        try:
            if configuration.own_cgroup:
                engine._own_cgroup = OwnCgroup.enter(engine.host.cgroups, configuration.cgroup_parent)
            engine.spawner = Spawner.start(_replacements(configuration.replacements))
            engine.sweeper.start()
            engine.networks.load()
            recovery.recover(engine)
            engine.supervisor.start()
            engine.restarter.resume()
        except BaseException:
            engine.close()
            raise
        for problem in engine.problems:
            log.warning("%s", problem)
        return engine

    def close(self) -> None:
        """Let go of everything; containers keep running, and the next engine with these directories finds
        them.
        """
        self.restarter.close()
        self.supervisor.stop()
        self.sweeper.stop()
        self.name_server.close()
        self.networks.close(self.networks_in_use())
        for container in list(self.containers.values()):
            with container.lock:
                container.close_parked()
                if container.shim is not None:
                    container.shim.close()
                    container.shim = None
        self.mounted_volumes.close()
        if hasattr(self, "spawner"):
            self.spawner.close()
        if self._own_cgroup is not None:
            self._own_cgroup.leave()
            self._own_cgroup = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def cgroup_path(self, container: Container) -> str:
        """Return the cgroup of the container, below the root of every cgroup file system."""
        parent = container.record.host_config.cgroup_parent or self.configuration.cgroup_parent
        return f"/{parent.strip('/')}/{container.id}"

    def cgroup(self, container: Container) -> cgroups.Cgroup:
        """Name the cgroup of the container."""
        return self.host.cgroups.at(self.cgroup_path(container))

    def networks_in_use(self) -> set[str]:
        """Return the ids of the networks that running containers are in."""
        return {
            network_id
            for container in list(self.containers.values())
            if container.is_running
            for network_id in container.state.endpoints
        }

    def layers_in_use(self) -> set[str]:
        """Return the ChainIDs that containers stand on: these layers stay, whatever happens to images."""
        return {
            chain_id for container in list(self.containers.values()) for chain_id in container.record.layers
        }


def _prepare_types() -> None:
    """Let msgspec learn every type of ours now, in one thread.

    It learns a type when it first decodes one, and a second thread that comes meanwhile finds it half made:
    two clients that started containers at once, just after the engine's start, ended the daemon with SIGSEGV
    (msgspec 0.22).
    """
    kinds: list[type[msgspec.Struct]] = [msgspec.Struct]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.startswith("minidock."):
            msgspec.json.Decoder(kind)


def _make_directories(paths: Paths) -> None:
    for path, mode in (
        (paths.data_root, 0o710),
        (paths.containers, 0o710),
        (paths.temporary, 0o700),
        (paths.seccomp_cache, 0o700),
        (paths.exec_root, 0o711),
        (os.path.join(paths.exec_root, "containers"), 0o700),
        (os.path.join(paths.exec_root, "rootfs"), 0o700),
    ):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)


def _lock(data_root: str) -> int:
    """Hold the data root for this process: two engines that write the same records would lose containers."""
    descriptor = os.open(data_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict(f"another engine is running with the data root {data_root}") from error
    return descriptor


def _replacements(given: tuple[tuple[str, str], ...]) -> list[Replacement]:
    found = []
    for seam, path in given:
        module, separator, function = seam.partition(":")
        if not (separator and module and function):
            raise InvalidParameter(f"invalid replacement {seam!r}: it is MODULE:FUNCTION=FILE")
        found.append((module, function, path))
    return found
