"""What lies in a container's /dev: a few nodes, the usual links, and the terminal as /dev/console.

The nodes are made on a fresh tmpfs, so an image cannot have put anything in their place. OCI runtime
specification, "Default Devices" and "Dev symbolic links".
"""

import os
from collections.abc import Iterable

from minidock.kernel import devices, mounts, openat2, terminal
from minidock.runtime import filesystems
from minidock.runtime.bundle import Device, Mount

PTMX_DEVICE = os.makedev(5, 2)


def is_ours(entries: Iterable[Mount]) -> bool:
    """True when the spec mounts a file system of our own on /dev, so that nodes may be made there."""
    return any(entry.destination.rstrip("/") == "/dev" and entry.type == "tmpfs" for entry in entries)


def populate(root: int, extra: Iterable[Device]) -> None:
    """Make the default nodes, `extra` and the links below the directory `root` (O_PATH)."""
    wanted = {f"/dev/{name}": node for name, node in devices.DEFAULT_NODES.items()}
    wanted.update({device.path: _node(device) for device in extra})
    for path, node in wanted.items():
        parent, name = os.path.split(path)
        directory = openat2.make_directories_in_root(root, parent)
        try:
            devices.make_node(directory, name, node)
        finally:
            os.close(directory)
    directory = openat2.open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY)
    try:
        for name, target in devices.DEFAULT_LINKS.items():
            if name != "core" or os.path.exists(target):  # not every kernel has /proc/kcore
                os.symlink(target, name, dir_fd=directory)
    finally:
        os.close(directory)


def open_console(uid: int, rows: int = 0, columns: int = 0) -> tuple[int, int]:
    """Open a terminal of the container's own devpts; return (master, slave). Call it inside the new root.

    The slave belongs to `uid`, and /dev/console becomes the same device.
    """
    facts = os.stat("/dev/pts/ptmx", follow_symlinks=False)
    if facts.st_rdev != PTMX_DEVICE:
        raise OSError(f"/dev/pts/ptmx is device {facts.st_rdev:#x}, not the terminal multiplexer")
    master = terminal.open_pty("/dev/pts/ptmx")
    slave = terminal.peer(master)
    os.fchown(slave, uid, -1)
    if rows and columns:
        terminal.set_size(master, rows, columns)
    return master, slave


def bind_console(slave: int) -> None:
    """Mount the terminal `slave` on /dev/console."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        target = openat2.make_file_in_root(root, "/dev/console", 0o600)
        try:
            tree = mounts.open_tree(
                "", mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC | mounts.AT_EMPTY_PATH, dir_fd=slave
            )
            try:
                filesystems.attach(tree, target)
            finally:
                os.close(tree)
        finally:
            os.close(target)
    finally:
        os.close(root)


def _node(device: Device) -> devices.DeviceNode:
    return devices.DeviceNode(
        device.type, device.major, device.minor, device.file_mode & 0o7777, device.uid, device.gid
    )
