"""Namespaces: what a process sees of mounts, processes, network, host name, IPC, cgroups, users and clocks.

A namespace has no name but its inode in /proc/PID/ns, and lives while a process or a descriptor holds it.
Source: namespaces(7), unshare(2), setns(2), user_namespaces(7), time_namespaces(7).
"""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from minidock.kernel.libc import syscall

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_FS = 0x00000200


class Kind(NamedTuple):
    """One kind of namespace: the flag that makes it, and its file in /proc/PID/ns."""

    flag: int
    file: str


# Keys are the OCI runtime specification's names (config-linux.md, "Namespaces").
NAMES: Final[dict[str, Kind]] = {
    "user": Kind(CLONE_NEWUSER, "user"),
    "mount": Kind(CLONE_NEWNS, "mnt"),
    "pid": Kind(CLONE_NEWPID, "pid"),
    "network": Kind(CLONE_NEWNET, "net"),
    "uts": Kind(CLONE_NEWUTS, "uts"),
    "ipc": Kind(CLONE_NEWIPC, "ipc"),
    "cgroup": Kind(CLONE_NEWCGROUP, "cgroup"),
    "time": Kind(CLONE_NEWTIME, "time"),
}


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (CLONE_NEW*); for pid and time only its next child is in them."""
    syscall("unshare", flags)


def setns(fd: int, nstype: int = 0) -> None:
    """Join the namespace behind `fd` (a /proc/PID/ns file), or with a pidfd those named by `nstype`."""
    syscall("setns", fd, nstype, about=f"descriptor {fd}")


def inode(pid: int | str, name: str) -> int:
    """Return the inode of a process's namespace, its identity; `name` is an OCI name, `pid` may be "self"."""
    return os.stat(f"/proc/{pid}/ns/{NAMES[name].file}").st_ino


def write_id_maps(
    pid: int, uid_map: Iterable[tuple[int, int, int]], gid_map: Iterable[tuple[int, int, int]]
) -> None:
    """Give the user namespace of `pid` its maps of (first id inside, first id outside, count); works once.

    The writer needs CAP_SETUID and CAP_SETGID in the parent user namespace.
    """
    _write_map(f"/proc/{pid}/gid_map", gid_map)
    _write_map(f"/proc/{pid}/uid_map", uid_map)


def _write_map(path: str, entries: Iterable[tuple[int, int, int]]) -> None:
    text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in entries)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())  # the kernel takes a map in one write(2) only
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)
