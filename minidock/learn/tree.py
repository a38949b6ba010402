"""The mount tree of a sandbox: the host's files, all read-only, and one writable place.

It is a new tree and not a cover over the host's: below none of its mounts lies anything of the host that an
unmount could bring to light. At its end it is made shared, as on every systemd host: on a private tree the
classic mistake, mounts that propagate, could never be seen. mount_namespaces(7), pivot_root(2).
"""

import os
import socket
import stat

from minidock.kernel import cgroups, devices, mounts

SCRATCH = "/scratch"
HOSTNAME = "sandbox"
_OURS = ("dev", "proc", "sys", "run", "scratch")
_PLACE = "/proc"  # the new root is put together there, in a mount namespace that nobody else sees
_CLONE = mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC | mounts.AT_RECURSIVE
_HOST_FILES = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NODEV
_RECURSIVE_PRIVATE = mounts.MS_REC | mounts.MS_PRIVATE


def is_own(target: str) -> bool:
    """Tell whether a mount at `target` is the sandbox's own affair.

    What the host has mounted deeper in its own directories may go at any time: whoever removes a directory
    there takes away what is mounted on it here.
    """
    parts = target.strip("/").split("/")
    return len(parts) == 1 or parts[0] in _OURS


def build(scratch_size: int, cgroup: cgroups.Hierarchy | None = None) -> None:
    """Make this process's root the sandbox's; call it in fresh mount, pid, network, IPC and UTS namespaces.

    With `cgroup`, file systems for making cgroups below this process's own are mounted too (needs a fresh
    cgroup namespace). `scratch_size` is in bytes.
    """
    mounts.mount(None, "/", None, _RECURSIVE_PRIVATE)
    cloned = _clone_host_files()
    _attach("tmpfs", _PLACE, mode="755")
    for name, tree in cloned.items():
        _place(name, tree)
    os.chdir(_PLACE)
    _make_dev()
    for name in ("proc", "sys", "run", "scratch"):
        os.mkdir(name)
    _attach("proc", "proc")
    _attach("sysfs", "sys", mounts.MOUNT_ATTR_RDONLY)
    _attach("tmpfs", "scratch", mode="1777", size=str(scratch_size))
    if cgroup is not None:
        _make_cgroups(cgroup)
    for path in filter(os.path.exists, ("proc/sys", "proc/sysrq-trigger")):
        mounts.mount(path, path, None, mounts.MS_BIND)
        mounts.mount_setattr(mounts.AT_FDCWD, path, set=mounts.MOUNT_ATTR_RDONLY)
    if cgroup is not None:  # an engine configures its networks there, and these are the sandbox's own
        mounts.mount("proc/sys/net", "proc/sys/net", None, mounts.MS_BIND)
        mounts.mount_setattr(mounts.AT_FDCWD, "proc/sys/net", clear=mounts.MOUNT_ATTR_RDONLY)
    mounts.pivot_root(".", ".")
    mounts.umount(".", mounts.MNT_DETACH)
    os.chdir("/")
    mounts.mount_setattr(mounts.AT_FDCWD, "/", set=mounts.MOUNT_ATTR_RDONLY)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_SHARED)
    socket.sethostname(HOSTNAME)
    os.chdir(SCRATCH)


def _clone_host_files() -> dict[str, int | str]:
    """Return what stands in the host's root: a detached read-only copy of a tree, or a link's target."""
    found: dict[str, int | str] = {}
    for name in os.listdir("/"):
        path = f"/{name}"
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            found[name] = os.readlink(path)
        elif name not in _OURS and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            tree = mounts.open_tree(path, _CLONE)
            mounts.mount_setattr(tree, "", set=_HOST_FILES, recursive=True)
            found[name] = tree
    return found


def _place(name: str, tree: int | str) -> None:
    path = f"{_PLACE}/{name}"
    if isinstance(tree, str):
        os.symlink(tree, path)
        return
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
    mounts.move_mount(tree, path)
    os.close(tree)


def _make_dev() -> None:
    """Make a /dev with the harmless devices only: no disk of the host has a node here."""
    os.mkdir("dev")
    _attach("tmpfs", "dev", mode="755", size="1m")
    directory = os.open("dev", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0)
    try:
        for name, node in devices.DEFAULT_NODES.items():
            devices.make_node(directory, name, node)
        for name, target in devices.DEFAULT_LINKS.items():
            os.symlink(target, name, dir_fd=directory)
        for name in ("pts", "shm"):
            os.mkdir(name, dir_fd=directory)
    finally:
        os.umask(mask)
        os.close(directory)
    _attach("devpts", "dev/pts", mode="620", ptmxmode="666")
    _attach("tmpfs", "dev/shm", mode="1777", size="16m")


def _make_cgroups(hierarchy: cgroups.Hierarchy) -> None:
    if hierarchy.version == 2:
        _attach("cgroup2", "sys/fs/cgroup")
        return
    _attach("tmpfs", "sys/fs/cgroup", mode="755", size="1m")
    for point in sorted(set(hierarchy.mounts.values())):
        names = [name for name, at in hierarchy.mounts.items() if at == point]
        target = f"sys/fs/cgroup/{os.path.basename(point)}"
        os.mkdir(target)
        if names == [cgroups.UNIFIED]:
            _attach("cgroup2", target)
        else:
            options = ",".join(names)
            named = "none," if options.startswith("name=") else ""
            mounts.mount("cgroup", target, "cgroup", 0, named + options)


def _attach(fstype: str, target: str, attributes: int = 0, **options: str) -> None:
    tree = mounts.detached(fstype, [("source", fstype), *options.items()], attributes)
    try:
        mounts.move_mount(tree, target)
    finally:
        os.close(tree)
