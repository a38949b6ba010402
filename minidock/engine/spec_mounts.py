"""What is mounted in a container: the kernel's file systems, Docker's three files in /etc, binds and tmpfs of
the user.

Data only: the entries are OCI `mounts`, and the runtime resolves their targets inside the root. A later entry
covers an earlier one, so the order is Docker's: the fixed ones, then the user's by depth. Source: moby's
default Linux spec and security.md 4.5; `-v`, `--mount` and `--tmpfs` as docs.docker.com has them.
"""

import os
import posixpath
from collections.abc import Iterable
from typing import Any

from minidock.engine.model import HostConfig, Mount
from minidock.engine.views import MountPoint
from minidock.errors import InvalidParameter, Unsupported

DEFAULT_SHM_SIZE = 64 * 1024 * 1024
ETC_FILES = ("resolv.conf", "hostname", "hosts")
_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_IGNORED_MODES = frozenset({"rw", "z", "Z", "consistent", "cached", "delegated", "default"})
_TMPFS_FLAGS = frozenset(
    [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
    ]
)
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_WRITABLE_WITH_READONLY_ROOT = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})

Entry = dict[str, Any]


def entries(host: HostConfig, directory: str) -> list[Entry]:
    """Return the OCI mounts of a container whose own files (hosts, ...) are in `directory`."""
    wanted = sorted(points(host), key=lambda point: point.destination.count("/"))
    covered = {point.destination for point in wanted}
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
    return fixed + [_user_entry(host, point) for point in wanted]


def points(host: HostConfig) -> list[MountPoint]:
    """Return the mounts the user asked for, as inspect shows them; InvalidParameter or Unsupported in
    Docker's words.
    """
    found = [_from_bind(text) for text in host.binds or ()]
    found += [_from_mount(mount) for mount in host.mounts or ()]
    found += [_tmpfs_point(target) for target in host.tmpfs or ()]
    seen: set[str] = set()
    for point in found:
        if point.destination in seen:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        seen.add(point.destination)
    return found


def make_bind_sources(host: HostConfig) -> None:
    """Make the directories that `-v` names and that do not exist yet, as Docker does (`--mount` does not)."""
    for text in host.binds or ():
        source = _from_bind(text).source
        if not os.path.lexists(source):
            os.makedirs(source, mode=0o755, exist_ok=True)


def check_bind_sources(mounts: Iterable[Mount]) -> None:
    """Raise InvalidParameter for a `--mount type=bind` whose source does not exist."""
    for mount in mounts:
        makes = mount.bind_options is not None and mount.bind_options.create_mountpoint
        if mount.type == "bind" and not makes and not os.path.exists(mount.source):
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
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
    if host.ipc_mode == "host":
        found.append(_entry("/dev/mqueue", "bind", "/dev/mqueue", "rbind", "nosuid", "noexec", "nodev"))
        found.append(_entry("/dev/shm", "bind", "/dev/shm", "rbind", "rprivate"))
        return found
    found.append(_entry("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"))
    if host.ipc_mode != "none":
        size = f"size={host.shm_size or DEFAULT_SHM_SIZE}"
        found.append(_entry("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", size))
    return found


def _entry(destination: str, kind: str, source: str, *options: str) -> Entry:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _from_bind(text: str) -> MountPoint:
    """Understand one `-v HOST:PATH[:MODE]`."""
    parts = text.split(":")
    if len(parts) > 3 or any(not part for part in parts):
        raise InvalidParameter(f"invalid volume specification: '{text}'")
    if len(parts) == 1 or not parts[0].startswith("/"):
        raise Unsupported(
            f"volumes are not supported yet: '{text}' (bind a directory of the host: /HOST/PATH:/PATH)"
        )
    destination = _destination(parts[1], f"invalid volume specification: '{text}': ")
    mode = parts[2] if len(parts) == 3 else ""
    writable, propagation = True, "rprivate"
    for option in filter(None, mode.split(",")):
        if option in _PROPAGATIONS:
            propagation = option
        elif option == "ro":
            writable = False
        elif option not in _IGNORED_MODES:
            raise InvalidParameter(f"invalid volume specification: '{text}': invalid mode: {mode}")
    source = posixpath.normpath(parts[0])
    return MountPoint(
        type="bind", source=source, destination=destination, mode=mode, rw=writable, propagation=propagation
    )


def _from_mount(mount: Mount) -> MountPoint:
    prefix = f'invalid mount config for type "{mount.type}": '
    destination = _destination(mount.target, prefix)
    if mount.type == "tmpfs":
        if mount.source:
            raise InvalidParameter(f"{prefix}field Source must not be specified")
        return _tmpfs_at(destination, not mount.read_only)
    if mount.type == "bind":
        if not mount.source.startswith("/"):
            raise InvalidParameter(
                f"{prefix}invalid mount path: '{mount.source}' mount path must be absolute"
            )
        options = mount.bind_options
        propagation = (options.propagation if options else "") or "rprivate"
        if propagation not in _PROPAGATIONS:
            raise InvalidParameter(f"{prefix}invalid propagation mode: {propagation}")
        source = posixpath.normpath(mount.source)
        return MountPoint(
            type="bind",
            source=source,
            destination=destination,
            mode="",
            rw=not mount.read_only,
            propagation=propagation,
        )
    if mount.type in ("volume", "image"):
        raise Unsupported(f"mounts of type {mount.type} are not supported yet: {mount.target}")
    raise InvalidParameter(f"mount type unknown: {mount.type!r}")


def _tmpfs_at(destination: str, writable: bool) -> MountPoint:
    return MountPoint(type="tmpfs", source="", destination=destination, mode="", rw=writable, propagation="")


def _tmpfs_point(target: str) -> MountPoint:
    return _tmpfs_at(_destination(target, f"invalid tmpfs mount '{target}': "), True)


def _destination(path: str, prefix: str) -> str:
    if not path.startswith("/"):
        raise InvalidParameter(f"{prefix}invalid mount path: '{path}' mount path must be absolute")
    clean = "/" + posixpath.normpath(path).lstrip("/")
    if clean == "/":
        raise InvalidParameter(f"{prefix}invalid specification: destination can't be '/'")
    return clean


def _user_entry(host: HostConfig, point: MountPoint) -> Entry:
    if point.type == "tmpfs":
        return _entry(point.destination, "tmpfs", "tmpfs", *_tmpfs_options(host, point))
    recursive = "rbind"
    for mount in host.mounts or ():
        if (
            mount.bind_options is not None
            and mount.bind_options.non_recursive
            and _same(mount.target, point.destination)
        ):
            recursive = "bind"
    readonly = [] if point.rw else (["ro", "rro"] if recursive == "rbind" else ["ro"])
    return _entry(point.destination, "bind", point.source, recursive, point.propagation, *readonly)


def _tmpfs_options(host: HostConfig, point: MountPoint) -> list[str]:
    """Return the options in the order in which the last one wins: safe ones first, then the user's."""
    options = ["noexec", "nosuid", "nodev"]
    for target, text in (host.tmpfs or {}).items():
        if _same(target, point.destination):
            options += _checked(text)
    for mount in host.mounts or ():
        if mount.type == "tmpfs" and _same(mount.target, point.destination):
            wanted = mount.tmpfs_options
            if wanted is not None:
                options += [f"size={wanted.size_bytes}"] if wanted.size_bytes else []
                options += [f"mode={wanted.mode:o}"] if wanted.mode else []
                options += _checked(",".join("=".join(pair) for pair in wanted.options or ()))
            options += ["ro"] if mount.read_only else []
    return options


def _checked(text: str) -> list[str]:
    options = [option for option in text.split(",") if option]
    for option in options:
        key, separator, _ = option.partition("=")
        if key not in (_TMPFS_KEYS if separator else _TMPFS_FLAGS):
            raise InvalidParameter(f'Invalid tmpfs option "{option}"')
    return options


def _same(path: str, destination: str) -> bool:
    return "/" + posixpath.normpath(path).lstrip("/") == destination
