"""What the engine says about itself and its host: /info and /version.

The counts are of this moment; everything about the host was read at the start. Docker Engine API v1.50,
SystemInfo.
"""

from __future__ import annotations

import os
import platform
import threading
from collections import Counter
from typing import TYPE_CHECKING

import minidock
from minidock.engine import log_drivers, times, validation
from minidock.engine.inspection import STORAGE_DRIVER
from minidock.engine.views import (
    Component,
    Index,
    Info,
    Platform,
    Plugins,
    RegistryConfig,
    Runtime,
    Swarm,
    Version,
)
from minidock.formats import image as image_format
from minidock.formats.digest import digest_of
from minidock.kernel.mounts import mountinfo

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

API_VERSION = "1.50"
MINIMUM_API_VERSION = "1.10"


def info(engine: Engine) -> Info:
    """Return what `docker info` shows."""
    host = engine.host
    counts = Counter(container.status for container in list(engine.containers.values()))
    total, running, paused = sum(counts.values()), counts["running"], counts["paused"]
    controllers = set(host.cgroups.mounts)
    unified = host.cgroups.version == 2
    return Info(
        id=digest_of(f"{host.name}:{engine.paths.data_root}".encode()).removeprefix("sha256:")[:32],
        containers=total,
        containers_running=running,
        containers_paused=paused,
        containers_stopped=total - running - paused,
        images=len(engine.images.images()),
        driver=STORAGE_DRIVER,
        driver_status=[
            ["Backing Filesystem", backing_filesystem(engine.paths.data_root)],
            ["Detached mounts", "true"],
        ],
        plugins=_plugins(),
        memory_limit=unified or "memory" in controllers,
        swap_limit=unified or "memory" in controllers,
        cpu_cfs_period=unified or "cpu" in controllers,
        cpu_cfs_quota=unified or "cpu" in controllers,
        cpu_shares=unified or "cpu" in controllers,
        cpu_set=unified or "cpuset" in controllers,
        pids_limit=unified or "pids" in controllers,
        oom_kill_disable=not unified,
        ipv4_forwarding=_is_forwarding(),
        debug=engine.configuration.debug,
        nfd=len(os.listdir("/proc/self/fd")),
        n_goroutines=threading.active_count(),
        system_time=times.now(),
        logging_driver="json-file",
        cgroup_driver="cgroupfs",
        cgroup_version=str(host.cgroups.version),
        n_events_listener=len(engine.events.listeners),
        kernel_version=host.kernel,
        operating_system=host.operating_system,
        os_version=host.os_version,
        os_type="linux",
        architecture=host.machine,
        ncpu=host.cpus,
        mem_total=host.memory,
        index_server_address="https://index.docker.io/v1/",
        registry_config=_registries(),
        docker_root_dir=engine.paths.data_root,
        name=host.name,
        labels=list(engine.configuration.labels),
        experimental_build=False,
        server_version=minidock.__version__,
        runtimes={name: Runtime(path="minidock-runc") for name in validation.RUNTIMES},
        default_runtime="minidock",
        swarm=Swarm(),
        live_restore_enabled=True,
        isolation="",
        init_binary="minidock-init",
        security_options=_security_options(engine),
        warnings=_warnings(engine) or None,
    )


def version(engine: Engine) -> Version:
    """Return what `docker version` shows of the server."""
    architecture = image_format.architecture(engine.host.machine)
    details = {
        "ApiVersion": API_VERSION,
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"python{platform.python_version()}",
        "KernelVersion": engine.host.kernel,
        "MinAPIVersion": MINIMUM_API_VERSION,
        "Os": "linux",
    }
    return Version(
        platform=Platform(name="minidock"),
        components=[Component(name="Engine", version=minidock.__version__, details=details)],
        version=minidock.__version__,
        api_version=API_VERSION,
        min_api_version=MINIMUM_API_VERSION,
        git_commit="",
        go_version=details["GoVersion"],
        os="linux",
        arch=architecture,
        kernel_version=engine.host.kernel,
        build_time="",
    )


def _plugins() -> Plugins:
    return Plugins(
        volume=["local"], network=["bridge", "host", "null"], authorization=None, log=list(log_drivers.ALL)
    )


def _security_options(engine: Engine) -> list[str]:
    options = ["name=seccomp,profile=builtin"]
    if engine.host.cgroup_namespace_mode == "private":
        options.append("name=cgroupns")
    return options


def _warnings(engine: Engine) -> list[str]:
    """Return what the user should know: replaced functions above all, and what was damaged at the start."""
    replaced = [
        f"WARNING: {seam} is replaced by {path}: this engine runs somebody's own code"
        for seam, path in engine.configuration.replacements
    ]
    return replaced + [f"WARNING: {problem}" for problem in engine.problems]


def _registries() -> RegistryConfig:
    hub = Index(name="docker.io", mirrors=[], secure=True, official=True)
    return RegistryConfig(
        insecure_registry_cidrs=["::1/128", "127.0.0.0/8"], index_configs={"docker.io": hub}, mirrors=[]
    )


def _is_forwarding() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def backing_filesystem(path: str) -> str:
    """Return the kind of file system that `path` lies on, in Docker's spelling (extfs for ext2 to ext4)."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    kinds = [mount.fstype for mount in mountinfo() if mount.device == wanted]
    kind = kinds[-1] if kinds else "unknown"  # btrfs gives each subvolume a device number of its own
    return "extfs" if kind in ("ext2", "ext3", "ext4") else kind
