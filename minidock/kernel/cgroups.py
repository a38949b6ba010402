"""Control groups, version 1 and version 2, behind one set of names.

A host offers version 2 in one tree, or version 1 with one tree per controller (often with an almost empty
version 2 tree beside them: "hybrid"). Which one is asked of the file systems themselves, never guessed from a
path. cgroups(7), statfs(2).

>>> group = at("/minidock/example")
>>> group.create(); group.apply(Limits(memory=64 << 20, pids=100)); group.join(pid); ...; group.kill();
group.delete()
"""

import ctypes
import errno
import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minidock.kernel import cgroup_v1_limits, cgroup_v2_limits, libc
from minidock.kernel.cgroup_model import UNIFIED, BlockDeviceValue, BlockIO, Cgroup, Limits, Statistics
from minidock.kernel.cgroup_v1 import CgroupV1
from minidock.kernel.cgroup_v2 import CgroupV2

__all__ = [
    "UNIFIED",
    "BlockDeviceValue",
    "BlockIO",
    "Cgroup",
    "Hierarchy",
    "Limits",
    "Statistics",
    "at",
    "hierarchy",
    "join_by",
]

CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
USUAL_MOUNT_POINT = "/sys/fs/cgroup"

# Mount options of a version 1 hierarchy that are not names of controllers.
_NOT_CONTROLLERS = frozenset(
    {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"}
)

# libc["statfs"] is a fresh function object, so declaring its types does not touch anybody else's.
_statfs = libc.libc["statfs"]
_statfs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
_statfs.restype = ctypes.c_int


@dataclass(frozen=True)
class Hierarchy:
    """Where this host's cgroups are. `version` has the controllers; `mounts`: controller -> root."""

    version: int
    mounts: Mapping[str, str]

    def at(self, path: str) -> Cgroup:
        """Name the cgroup at `path`, e.g. "/minidock/3f2a"; it need not exist."""
        parts = path.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
            raise ValueError(f"invalid cgroup path {path!r}: it is absolute, normalised and not the root")
        return CgroupV2(path, self.mounts[UNIFIED]) if self.version == 2 else CgroupV1(path, self.mounts)

    def knows(self, field: str) -> bool:
        """Tell whether this version has the limit at all; a kernel built without it is Cgroup.supported's."""
        return field in (cgroup_v2_limits if self.version == 2 else cgroup_v1_limits).FILES


def hierarchy() -> Hierarchy:
    """Find the cgroup file systems of this mount namespace. Takes some 0.1 ms: keep the answer."""
    if _magic(USUAL_MOUNT_POINT) == CGROUP2_SUPER_MAGIC:
        return Hierarchy(2, {UNIFIED: USUAL_MOUNT_POINT})
    mounts: dict[str, str] = {}
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [line for line in file if b" - cgroup" in line]
    # Someone else's root file system may be mounted with cgroups in it: the usual places come last and win.
    for line in sorted(lines, key=lambda line: line.split()[4].startswith(USUAL_MOUNT_POINT.encode())):
        fields, _, rest = line.decode(errors="surrogateescape").partition(" - ")
        point = _unescaped(fields.split()[4])
        fstype, _, options = rest.split()
        magic = CGROUP2_SUPER_MAGIC if fstype == "cgroup2" else CGROUP_SUPER_MAGIC
        if _magic(point) == magic:  # else something else is mounted over it
            names = [UNIFIED] if fstype == "cgroup2" else _controllers(options)
            mounts.update(dict.fromkeys(names, point))
    if any(name != UNIFIED and not name.startswith("name=") for name in mounts):
        return Hierarchy(1, mounts)
    if UNIFIED in mounts:
        return Hierarchy(2, {UNIFIED: mounts[UNIFIED]})
    raise OSError(errno.ENODEV, "no cgroup file system is mounted", USUAL_MOUNT_POINT)


@functools.cache
def known() -> Hierarchy:
    """Return what this process has found at its first question: a host's cgroups stay where they are."""
    return hierarchy()


def at(path: str) -> Cgroup:
    """Name the cgroup at `path` on this host; see Hierarchy.at."""
    return known().at(path)


def join_by(descriptors: Iterable[int]) -> None:
    """Put the calling, single-threaded process into a cgroup by the descriptors of Cgroup.join_descriptors.

    Works from any mount namespace, for the files are open already. The descriptors stay open.
    """
    for descriptor in descriptors:
        try:
            os.write(descriptor, b"0")
        except OSError as error:
            error.add_note("while joining a cgroup by an open cgroup.procs or tasks file")
            raise


def _magic(path: str) -> int:
    """Return the kind of file system that `path` is on (statfs(2)'s f_type), 0 if there is no such path."""
    buffer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes, and its first member is f_type
    return buffer[0] if _statfs(os.fsencode(path), buffer) == 0 else 0


def _controllers(super_options: str) -> list[str]:
    names = super_options.split(",")
    return [name for name in names if name not in _NOT_CONTROLLERS and not name.startswith("release_agent=")]


def _unescaped(text: str) -> str:
    """Undo mountinfo's octal escapes for space, tab, newline and backslash (proc_pid_mountinfo(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
