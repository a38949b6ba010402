"""The pieces that root's power is cut into, and the five sets of them that a process has.

The raw system calls are used because glibc has none for capset(2), and because init may not load libcap after
it has entered the image's file system. capabilities(7), capset(2), prctl(2).
"""

import ctypes
import struct
from collections.abc import Collection, Iterable

from minidock.kernel import libc

# In bit order: include/uapi/linux/capability.h.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

# What Docker gives a container's root: enough for package managers and servers, nothing that configures the
# host.
DOCKER_DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

_NUMBERS = {name: index for index, name in enumerate(NAMES)}
_STATUS_SETS = {
    "CapInh": "inheritable",
    "CapPrm": "permitted",
    "CapEff": "effective",
    "CapBnd": "bounding",
    "CapAmb": "ambient",
}


def number(name: str) -> int:
    """Return the bit number of a capability, with or without "CAP_", in any case. ValueError names it."""
    canonical = name.upper()
    if not canonical.startswith("CAP_"):
        canonical = "CAP_" + canonical
    try:
        return _NUMBERS[canonical]
    except KeyError:
        raise ValueError(f"unknown capability: {name!r}") from None


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of a set of capabilities."""
    bits = 0
    for name in names:
        bits |= 1 << number(name)
    return bits


def names(mask: int) -> list[str]:
    """List the capabilities of a bit mask in bit order; one newer than this module is "CAP_<number>"."""
    return [_name(bit) for bit in range(mask.bit_length()) if mask >> bit & 1]


def last_capability() -> int:
    """Return the highest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def read(pid: int | str = "self") -> dict[str, int]:
    """Return the masks of a process: inheritable, permitted, effective, bounding and ambient."""
    with open(f"/proc/{pid}/status") as file:
        lines = (line.partition(":") for line in file)
        return {_STATUS_SETS[key]: int(value, 16) for key, _, value in lines if key in _STATUS_SETS}


def available() -> list[str]:
    """List what this process could give to a child: asking for more fails with EPERM.

    Root in a virtual machine or a container may lack some itself.
    """
    masks = read()
    return names(masks["permitted"] & masks["bounding"])


def drop_bounding(keep: Collection[str]) -> None:
    """Take every capability but `keep` out of the bounding set, for this process and all it will ever exec.

    Asks the kernel bit by bit until it knows no more, so that a capability newer than this module goes too.
    """
    kept = mask(keep)
    for bit in range(64):
        try:
            present = libc.syscall("prctl", PR_CAPBSET_READ, bit)
        except OSError:  # EINVAL: beyond the last capability
            return
        if present and not kept >> bit & 1:
            libc.syscall("prctl", PR_CAPBSET_DROP, bit, about=_name(bit))


def set_keep_capabilities(keep: bool) -> None:
    """Say whether permitted capabilities survive setuid(2) away from root; execve(2) clears this."""
    libc.syscall("prctl", PR_SET_KEEPCAPS, int(keep))


def set_process_capabilities(
    effective: Collection[str], permitted: Collection[str], inheritable: Collection[str]
) -> None:
    """Set three sets of the calling thread at once. EPERM for one that it does not have."""
    masks = (mask(effective), mask(permitted), mask(inheritable))
    header = ctypes.create_string_buffer(struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0), 8)
    low, high = ([value >> shift & 0xFFFFFFFF for value in masks] for shift in (0, 32))
    data = ctypes.create_string_buffer(struct.pack("=6I", *low, *high), 24)
    libc.syscall("capset", ctypes.byref(header), ctypes.byref(data))


def set_ambient(names: Collection[str]) -> None:
    """Make the ambient set exactly `names`: what a program without file capabilities keeps when not root.

    Each must be permitted and inheritable already, else EPERM.
    """
    bits = [number(name) for name in names]
    libc.syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for bit in bits:
        libc.syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0, about=_name(bit))


def _name(bit: int) -> str:
    return NAMES[bit] if bit < len(NAMES) else f"CAP_{bit}"
