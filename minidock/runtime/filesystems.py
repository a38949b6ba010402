"""The mounts inside a container's root: /proc, /sys, /dev, tmpfs, binds, cgroups.

The image and the volumes are not to be trusted while mounting: a symlink in them could lead a mount to the
host. So each file system is made detached, its target is resolved inside the root by openat2, and both
descriptors are joined by move_mount. fsopen(2), open_tree(2), openat2(2); option names as in mount(8) and the
OCI runtime specification.
"""

import errno
import os
import stat
from collections.abc import Mapping
from types import MappingProxyType

from minidock.kernel import mounts, openat2
from minidock.runtime.bundle import Mount, is_bind

_ATTRIBUTES = {
    "ro": (mounts.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, mounts.MOUNT_ATTR_RDONLY),
    "nosuid": (mounts.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, mounts.MOUNT_ATTR_NOSUID),
    "nodev": (mounts.MOUNT_ATTR_NODEV, 0),
    "dev": (0, mounts.MOUNT_ATTR_NODEV),
    "noexec": (mounts.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, mounts.MOUNT_ATTR_NOEXEC),
    "nodiratime": (mounts.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, mounts.MOUNT_ATTR_NODIRATIME),
    "relatime": (mounts.MOUNT_ATTR_RELATIME, mounts.MOUNT_ATTR__ATIME),
    "noatime": (mounts.MOUNT_ATTR_NOATIME, mounts.MOUNT_ATTR__ATIME),
    "strictatime": (mounts.MOUNT_ATTR_STRICTATIME, mounts.MOUNT_ATTR__ATIME),
    "atime": (mounts.MOUNT_ATTR_RELATIME, mounts.MOUNT_ATTR__ATIME),
    "nostrictatime": (mounts.MOUNT_ATTR_RELATIME, mounts.MOUNT_ATTR__ATIME),
}
_PROPAGATION = {
    "private": mounts.MS_PRIVATE,
    "slave": mounts.MS_SLAVE,
    "shared": mounts.MS_SHARED,
    "unbindable": mounts.MS_UNBINDABLE,
}
_SUPERBLOCK_FLAGS = ("sync", "dirsync", "lazytime", "mand")
_NOT_FOR_THE_KERNEL = ("defaults", "bind", "rbind", "z", "Z", "nocopy", "async", "nolazytime", "norelatime")
# Their places in an image are ours to mount on, so they must be real directories: a symlink there is an
# attack.
# Files that lxcfs and the like replace to show a container its own share of the machine; runc's list.
_BINDABLE_IN_PROC = frozenset(
    f"/proc/{name}"
    for name in [
        *["cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime"],
        *["sys/crypto/fips_enabled", "sys/kernel/ns_last_pid"],
    ]
)
_OWN_DIRECTORIES = ("proc", "sysfs", "cgroup", "devpts", "mqueue")


class Options:
    """The option list of one mount, sorted by who interprets it: VFS attributes, propagation, the file
    system.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.set = self.clear = self.propagation = 0
        self.recursive = "rbind" in names
        self.recursive_attributes = 0
        self.filesystem: list[tuple[str, str | None]] = []
        for name in names:
            self._sort(name)

    def _sort(self, name: str) -> None:
        if name in _ATTRIBUTES:
            turn_on, turn_off = _ATTRIBUTES[name]
            self.set = self.set & ~turn_off | turn_on
            self.clear = self.clear & ~turn_on | turn_off
        elif name in _PROPAGATION:
            self.propagation = _PROPAGATION[name]
        elif name.startswith("r") and name[1:] in _PROPAGATION:
            self.propagation = _PROPAGATION[name[1:]] | mounts.MS_REC
        elif name.startswith("r") and name[1:] in _ATTRIBUTES:
            self.recursive_attributes |= _ATTRIBUTES[name[1:]][0]
        elif name in _SUPERBLOCK_FLAGS:
            self.filesystem.append((name, None))
        elif name not in _NOT_FOR_THE_KERNEL:
            key, separator, value = name.partition("=")
            self.filesystem.append((key, value if separator else None))


def mount_all(
    root: int,
    entries: tuple[Mount, ...],
    cgroup_paths: Mapping[str, str],
    given: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Mount `entries` in their order below the directory `root` (an O_PATH descriptor).

    `cgroup_paths` maps each cgroup v1 controller to the container's directory in it ({} on a v2 host).
    `given` maps the destination of a bind to the detached mount that goes there.
    """
    for entry in entries:
        options = Options(entry.options)
        try:
            if entry.type == "cgroup" and cgroup_paths:
                _mount_cgroup_v1(root, entry, options, cgroup_paths)
            elif is_bind(entry):
                _mount_bind(root, entry, options, given.get(entry.destination, -1))
            else:
                _mount_filesystem(root, entry, options)
        except OSError as error:
            error.add_note(f"error mounting {entry.source!r} to rootfs at {entry.destination!r}")
            raise


def attach(tree: int, target: int) -> None:
    """Mount the detached `tree` on the file or directory `target` (O_PATH)."""
    flags = mounts.MOVE_MOUNT_F_EMPTY_PATH | mounts.MOVE_MOUNT_T_EMPTY_PATH
    mounts.move_mount(tree, "", to_fd=target, flags=flags)


def directory_for(root: int, path: str, real: bool = False) -> int:
    """Return the directory `path` in `root`, made when missing; with `real`, no symlink may lie on its
    way.
    """
    if real:
        try:
            resolve = openat2.RESOLVE_IN_ROOT | openat2.RESOLVE_NO_SYMLINKS
            return openat2.openat2(root, path, os.O_PATH | os.O_DIRECTORY, resolve=resolve)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise OSError(
                    error.errno, f"{path} of the image is not a directory (a symlink is not followed)"
                ) from error
            raise
    return openat2.make_directories_in_root(root, path)


def _mount_filesystem(root: int, entry: Mount, options: Options) -> None:
    kind = "cgroup2" if entry.type == "cgroup" else entry.type
    named = [("source", entry.source)] if entry.source else []
    tree = mounts.detached(kind, [*named, *options.filesystem], options.set)
    try:
        real = entry.type in _OWN_DIRECTORIES or entry.destination in ("/dev", "/proc", "/sys")
        _place(root, tree, directory_for(root, entry.destination, real), options)
    finally:
        os.close(tree)


_OF_ANOTHER_KIND = (
    "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)


def _mount_bind(root: int, entry: Mount, options: Options, given: int = -1) -> None:
    recursion = mounts.AT_RECURSIVE if options.recursive else 0
    if given >= 0:
        tree = os.dup(given)
    else:
        tree = mounts.open_tree(entry.source, mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC | recursion)
    try:
        if options.set or options.clear:
            mounts.mount_setattr(tree, "", set=options.set, clear=options.clear)
        if options.recursive_attributes:
            mounts.mount_setattr(tree, "", set=options.recursive_attributes, recursive=True)
        _refuse_in_proc(tree, entry.destination)
        try:
            if stat.S_ISDIR(os.fstat(tree).st_mode):
                target = directory_for(root, entry.destination)
            else:
                target = openat2.make_file_in_root(root, entry.destination)
        except (NotADirectoryError, IsADirectoryError) as error:
            raise OSError(error.errno, _OF_ANOTHER_KIND, entry.destination) from error
        _refuse_proc_behind_a_link(target, entry.destination)
        _place(root, tree, target, options)
    finally:
        os.close(tree)


def _refuse_in_proc(tree: int, destination: str) -> None:
    """Refuse a bind over /proc or in it: what a container knows of itself, and our masks, are there."""
    if destination == "/proc" and mounts.file_system_type(tree) != mounts.PROC_SUPER_MAGIC:
        raise OSError(errno.EPERM, '"/proc" cannot be mounted because it is not of type proc')
    if destination.startswith("/proc/") and destination not in _BINDABLE_IN_PROC:
        raise OSError(errno.EPERM, f'"{destination}" cannot be mounted because it is inside /proc')


def _refuse_proc_behind_a_link(target: int, destination: str) -> None:
    if not destination.startswith("/proc") and mounts.file_system_type(target) == mounts.PROC_SUPER_MAGIC:
        os.close(target)
        raise OSError(errno.EPERM, f'"{destination}" cannot be mounted because it is inside /proc')


def _mount_cgroup_v1(root: int, entry: Mount, options: Options, cgroup_paths: Mapping[str, str]) -> None:
    """Show each controller's own subtree below one tmpfs, as a v1 host does."""
    writable = Mount(
        destination=entry.destination,
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "nodev", "noexec", "mode=755"),
    )
    _mount_filesystem(root, writable, Options(writable.options))
    ours = openat2.open_in_root(root, entry.destination, os.O_PATH | os.O_DIRECTORY)
    try:  # nobody but us has been in this tmpfs: here a name is just a name
        for controller, path in cgroup_paths.items():
            tree = mounts.open_tree(path, mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC)
            try:
                mounts.mount_setattr(tree, "", set=options.set, clear=options.clear)
                os.mkdir(controller, 0o755, dir_fd=ours)
                mounts.move_mount(tree, controller, ours)
                _propagate(tree, options)
            finally:
                os.close(tree)
        if options.set & mounts.MOUNT_ATTR_RDONLY:
            mounts.mount_setattr(ours, "", set=mounts.MOUNT_ATTR_RDONLY)
    finally:
        os.close(ours)


def _place(root: int, tree: int, target: int, options: Options) -> None:
    try:
        attach(tree, target)
    finally:
        os.close(target)
    _propagate(tree, options)


def _propagate(tree: int, options: Options) -> None:
    if options.propagation:
        mounts.mount_setattr(
            tree,
            "",
            propagation=options.propagation & ~mounts.MS_REC,
            recursive=bool(options.propagation & mounts.MS_REC),
        )
