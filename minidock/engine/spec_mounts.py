"""What is mounted in a container: the kernel's file systems, Docker's three files in /etc, and the user's
mounts.

Data only: the entries are OCI `mounts`, and the runtime resolves their targets inside the root. A later entry
covers an earlier one, so the order is Docker's: the fixed ones, then the user's by depth. Source: moby's
default Linux spec and security.md 4.5.
"""

import os
from collections.abc import Sequence
from typing import Any

from minidock.engine.model import HostConfig, MountPoint

DEFAULT_SHM_SIZE = 64 * 1024 * 1024
ETC_FILES = ("resolv.conf", "hostname", "hosts")
_WRITABLE_WITH_READONLY_ROOT = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})

Entry = dict[str, Any]


def entries(host: HostConfig, directory: str, points: Sequence[MountPoint]) -> list[Entry]:
    """Return the OCI mounts of a container with these mount points, whose own files (hosts, ...) are in
    `directory`.
    """
    covered = {point.destination for point in points}
    fixed = [entry for entry in _kernel_mounts(host) if entry["destination"] not in covered]
    fixed += [
        _entry(f"/etc/{name}", "bind", os.path.join(directory, name), "rbind", "rprivate")
        for name in ETC_FILES
        if f"/etc/{name}" not in covered
    ]
    if host.readonly_rootfs:
        for entry in fixed:
            if entry["destination"] not in _WRITABLE_WITH_READONLY_ROOT and "ro" not in entry["options"]:
                entry["options"].append("ro")
    return fixed + [_user_entry(point) for point in by_depth(points)]


def by_depth(points: Sequence[MountPoint]) -> list[MountPoint]:
    """Return the mounts in the order in which they are made: what lies below another comes after it."""
    return sorted(points, key=lambda point: point.destination.count("/"))


def _user_entry(point: MountPoint) -> Entry:
    if point.type == "tmpfs":
        return _entry(point.destination, "tmpfs", "tmpfs", *point.options)
    options = ["rbind" if point.recursive else "bind", point.propagation or "rprivate"]
    if not point.rw:
        options += ["ro", "rro"] if point.recursive and point.recursive_read_only else ["ro"]
    return _entry(
        point.destination, "bind", os.path.join(point.source, point.subpath).rstrip("/") or "/", *options
    )


def _kernel_mounts(host: HostConfig) -> list[Entry]:
    readonly = [] if host.privileged else ["ro"]
    found = [
        _entry("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _entry("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _entry(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _entry("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", *readonly),
        _entry("/sys/fs/cgroup", "cgroup", "cgroup", *readonly, "nosuid", "noexec", "nodev"),
    ]
    # The file system of message queues is that of the IPC namespace, whosever it is.
    found.append(_entry("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"))
    if host.ipc_mode == "host" or host.ipc_mode.startswith("container:"):
        found.append(_entry("/dev/shm", "bind", "/dev/shm", "rbind", "rprivate"))
    elif host.ipc_mode != "none":
        size = f"size={host.shm_size or DEFAULT_SHM_SIZE}"
        found.append(_entry("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", size))
    return found


def _entry(destination: str, kind: str, source: str, *options: str) -> Entry:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
