"""Device nodes, and the rules that say who may open them: what every container gets, and how rules combine.

Version 1 takes rules as text and version 2 as a program, and they must not come to different verdicts: both
are given the same reduced list. Documentation/admin-guide/cgroup-v1/devices.rst, mknod(2), OCI
config-linux.md "Allowed Device list".
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class DeviceNode:
    """A device file: type "c" or "b"."""

    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class DeviceRule:
    """Allow or deny `access` (of r, w, m = mknod) to devices of `type` c, b or a (all); None: any number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"

    def __post_init__(self) -> None:
        if self.type not in ("a", "b", "c"):
            raise ValueError(f"invalid device type {self.type!r}: it is a, b or c")
        if not self.access or set(self.access) - set("rwm"):
            raise ValueError(f"invalid device access {self.access!r}: it is made of r, w and m")
        if any(number is not None and number < 0 for number in (self.major, self.minor)):
            raise ValueError("invalid device number: it is positive, and None stands for all")
        if self.type == "a" and (self.major, self.minor, set(self.access)) != (None, None, set("rwm")):
            raise ValueError("a device rule of type a is for all devices and all access: name c or b")

    def __str__(self) -> str:
        major = "*" if self.major is None else self.major
        minor = "*" if self.minor is None else self.minor
        return f"{self.type} {major}:{minor} {self.access}"

    def covers(self, other: "DeviceRule") -> bool:
        """Tell whether every device of `other` is one of ours (access aside)."""
        return (
            self.type == other.type
            and self.major in (None, other.major)
            and self.minor in (None, other.minor)
        )

    def overlaps(self, other: "DeviceRule") -> bool:
        """Tell whether some device belongs to both (access aside)."""
        return (
            self.type == other.type
            and (self.major is None or other.major is None or self.major == other.major)
            and (self.minor is None or other.minor is None or self.minor == other.minor)
        )


@dataclass(frozen=True)
class DevicePolicy:
    """Reduced rules: the verdict for all devices, and the exceptions from it."""

    allow: bool
    exceptions: tuple[DeviceRule, ...]


DEFAULT_NODES = MappingProxyType(
    {
        "null": DeviceNode("c", 1, 3),
        "zero": DeviceNode("c", 1, 5),
        "full": DeviceNode("c", 1, 7),
        "random": DeviceNode("c", 1, 8),
        "urandom": DeviceNode("c", 1, 9),
        "tty": DeviceNode("c", 5, 0),
    }
)

DEFAULT_LINKS = MappingProxyType(
    {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "core": "/proc/kcore",
        "ptmx": "pts/ptmx",
    }
)

# Making a node is allowed for every number because it is harmless: *opening* it is what the rest decides.
DEFAULT_RULES = (
    DeviceRule(False),
    DeviceRule(True, "c", None, None, "m"),
    DeviceRule(True, "b", None, None, "m"),
    DeviceRule(True, "c", 1, 3),  # null
    DeviceRule(True, "c", 1, 5),  # zero
    DeviceRule(True, "c", 1, 7),  # full
    DeviceRule(True, "c", 1, 8),  # random
    DeviceRule(True, "c", 1, 9),  # urandom
    DeviceRule(True, "c", 5, 0),  # tty
    DeviceRule(True, "c", 5, 1),  # console
    DeviceRule(True, "c", 5, 2),  # ptmx
    DeviceRule(True, "c", 136, None),  # the pseudo-terminals in /dev/pts
    DeviceRule(True, "c", 10, 200),  # tun: opened by Docker for compatibility, though no node is made
)

ALL_DEVICES = (DeviceRule(True),)

# Directories of /dev that hold no devices of the host: each container has its own.
_NOT_DEVICES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


def reduce(rules: Iterable[DeviceRule]) -> DevicePolicy:
    """Apply the rules in order, starting from "deny all": the last rule that names a device and access wins.

    ValueError for a rule that cuts a piece out of a wider one (allow `c *:* rwm`, then deny `c 1:3 w`): the
    kernel's version 1 interface cannot say that, and leaving it out would leave the device open.
    """
    allow, exceptions = False, list[DeviceRule]()
    for rule in rules:
        if rule.type == "a":
            allow, exceptions = rule.allow, []
        elif rule.allow == allow:
            exceptions = _without(exceptions, rule)
        else:
            exceptions = _with(exceptions, rule)
    return DevicePolicy(allow, tuple(exceptions))


def make_node(directory: int, name: str, node: DeviceNode) -> None:
    """Make the device file `name` in the directory descriptor `directory`, with mode and owner as given.

    The directory must be one that nobody else can change yet: mode and owner are set by name, after mknod(2).
    """
    kind = stat.S_IFCHR if node.type == "c" else stat.S_IFBLK
    os.mknod(name, kind | node.mode, os.makedev(node.major, node.minor), dir_fd=directory)
    os.chmod(name, node.mode, dir_fd=directory)  # mknod applies the umask
    if node.uid or node.gid:
        os.chown(name, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)


def read_node(path: str) -> DeviceNode:
    """Describe the device file at `path` (following symbolic links). ValueError if it is no device."""
    status = os.stat(path)
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise ValueError(f"{path}: not a device node")
    return DeviceNode(
        "c" if stat.S_ISCHR(status.st_mode) else "b",
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
    )


def host_nodes(directory: str = "/dev") -> dict[str, DeviceNode]:
    """Map the name below `directory` of every device of the host to its node: what --privileged shows."""
    nodes: dict[str, DeviceNode] = {}
    pending = [""]
    while pending:
        prefix = pending.pop()
        for entry in os.scandir(os.path.join(directory, prefix)):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if name not in _NOT_DEVICES:
                    pending.append(name + "/")
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                nodes[name] = read_node(entry.path)
    nodes.pop("console", None)  # a container's console is its own terminal
    return nodes


def _with(exceptions: Sequence[DeviceRule], rule: DeviceRule) -> list[DeviceRule]:
    merged = list(exceptions)
    for index, present in enumerate(merged):
        if (present.type, present.major, present.minor) == (rule.type, rule.major, rule.minor):
            merged[index] = replace(rule, access=_ordered(set(present.access) | set(rule.access)))
            return merged
    return [*merged, replace(rule, access=_ordered(set(rule.access)))]


def _without(exceptions: Sequence[DeviceRule], rule: DeviceRule) -> list[DeviceRule]:
    kept: list[DeviceRule] = []
    for present in exceptions:
        common = set(present.access) & set(rule.access)
        if not common or not rule.overlaps(present):
            kept.append(present)
        elif rule.covers(present):
            if rest := set(present.access) - common:
                kept.append(replace(present, access=_ordered(rest)))
        else:
            verb = "allow" if rule.allow else "deny"
            raise ValueError(f"cannot {verb} {rule}: it is only a part of the earlier rule {present}")
    return kept


def _ordered(access: set[str]) -> str:
    return "".join(letter for letter in "rwm" if letter in access)
