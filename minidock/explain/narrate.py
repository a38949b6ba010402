"""The trace records of a start, told as a story: what was done, how, how long it took, and what for.

The engine's modules only record facts (minidock/kernel/trace.py); every word a reader sees about them is
here. A step that this table does not know is still told, with its facts alone.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

# step: (how it is done, chapter, what would happen without it)
STORY: dict[str, tuple[str, int, str]] = {
    "make the network namespace": (
        "unshare(2) of CLONE_NEWNET in a thread, which opens /proc/thread-self/ns/net and ends; lo is set up",
        11,
        "the container would see, and with enough rights change, the interfaces of the host",
    ),
    "choose an address": (
        "the network's next free one; its first container also makes the bridge and the nftables table",
        11,
        "two containers could have one address, and their answers would go to the wrong one",
    ),
    "plug in the interface": (
        "rtnetlink(7): a veth pair, one end a port of the bridge, the other inside with address and route",
        11,
        "the container would have its loopback only, as with --network none",
    ),
    "publish the ports": (
        "an nftables transaction adds map elements: what comes for the host's port gets a new address",
        12,
        "who asks the host's port from outside would find nobody; the relay serves the loopback only",
    ),
    "create the cgroup": (
        "mkdir(2) in the cgroup file system, then the limits are written into its files and read back",
        5,
        "the program could use all memory, all processors and every process id of the host",
    ),
    "clone init": (
        "clone(2) with a CLONE_NEW* flag for each new namespace: a child that sees a world of its own",
        4,
        "the program would share process ids, host name, mounts and network with the host",
    ),
    "join cgroups": (
        "write(2) of 0, which means oneself, into each cgroup's cgroup.procs",
        5,
        "the limits would exist and apply to nobody",
    ),
    "set the OOM score": (
        "a write to /proc/self/oom_score_adj, while that is the host's /proc",
        6,
        "out of memory, the kernel would rather spare the program than any other, as it does its keeper",
    ),
    "join namespaces": (
        "setns(2) for namespaces that exist already, unshare(2) of the cgroup namespace",
        4,
        "--network container:NAME would have no effect, and /proc/self/cgroup would show the host's paths",
    ),
    "isolate the mounts": (
        "mount(2) of / as MS_PRIVATE or MS_SLAVE, recursively",
        3,
        "every mount made from here on would appear on the host too",
    ),
    "attach the root": (
        "move_mount(2) of the overlay of the image's layers, prepared by the daemon as a detached mount",
        7,
        "there would be no tree to run in; without the overlay the image itself would be written to",
    ),
    "mount file systems": (
        "mount(2) or fsopen(2) for /proc, /dev, /sys and every volume, each target opened below the new root",
        3,
        "ps would show the host's processes, and a symbolic link in the image could lead a mount astray",
    ),
    "make devices": (
        "mknod(2) of null, zero, full, random, urandom, tty, and a few symbolic links",
        3,
        "programs that open /dev/null or /dev/urandom would fail",
    ),
    "make the working directory": (
        "mkdirat(2) below the new root",
        3,
        "-w on a directory that the image does not have would fail",
    ),
    "protect /proc and /sys": (
        "read-only bind mounts, and /dev/null or an empty tmpfs over what must not be read",
        3,
        "root in the container could change the host through /proc/sys and read its memory in /proc/kcore",
    ),
    "enter the root": (
        "pivot_root(2), then umount2(2) of the old root with MNT_DETACH",
        3,
        "the host's tree would still be there to be found; chroot(2) alone can be escaped (chapter 2)",
    ),
    "open the terminal": (
        "a pair from the container's own devpts, made the controlling terminal with ioctl(2) TIOCSCTTY",
        1,
        "ctrl-c would not reach the program and job control would not work",
    ),
    "finish the root": (
        "mount(2) with the propagation and read-only flag that were asked for",
        3,
        "--read-only would be a promise only",
    ),
    "set the hostname": (
        "sethostname(2) in the new UTS namespace",
        4,
        "the prompt would show the host's name; without the namespace this would rename the host",
    ),
    "set limits": (
        "prlimit(2) for --ulimit",
        6,
        "the program would inherit the daemon's limits",
    ),
    "change identity": (
        "capset(2), setgroups(2), setresgid(2), setresuid(2), PR_SET_NO_NEW_PRIVS; the seccomp filter last",
        6,
        "root in the container would be root: it could load modules, change the clock, mount disks",
    ),
    "change directory": ("chdir(2) as the container's user", 1, "the program would start in /"),
    "exec": (
        "execve(2): the process that prepared all this becomes the program, and its start-up code is gone",
        1,
        "there would be a very well isolated Python",
    ),
}
CHAPTERS = {
    1: "process",
    2: "chroot",
    3: "mounts and pivot_root",
    4: "namespaces",
    5: "cgroups",
    6: "users, capabilities, seccomp",
    7: "layers and whiteouts",
    11: "veth and bridge",
    12: "published ports, NAT, DNS",
}
KNOWN_FIELDS = ("step", "function", "duration_ns", "time_ns", "error")


def narrate(lines: Iterable[str], out: TextIO) -> None:
    """Tell the records in `lines` (JSON objects, in any order) on `out`, in the order of their begin."""
    records = [json.loads(line) for line in lines if line.strip()]
    for number, record in enumerate(sorted(records, key=_begin), 1):
        out.write("\n".join(paragraph(number, record)) + "\n")


def paragraph(number: int, record: dict[str, Any]) -> list[str]:
    """Return the lines about one step."""
    step = str(record.get("step", "(unnamed step)"))
    how, chapter, without = STORY.get(step, ("", 0, ""))
    where = str(record.get("function", ""))
    place = f"chapter {chapter}, {CHAPTERS[chapter]}" if chapter else ""
    lines = [
        f"{number:3}. {step:<28} {_duration(record):>9}  {'; '.join(filter(None, (where, place)))}".rstrip()
    ]
    if facts := "  ".join(
        f"{name}={_fact(value)}" for name, value in record.items() if name not in KNOWN_FIELDS
    ):
        lines.append(f"     with: {facts}")
    if how:
        lines.append(f"     how: {how}")
    if "error" in record:
        lines.append(f"     failed: {record['error']}")
    elif without:
        lines.append(f"     without it: {without}")
    return lines


def _begin(record: dict[str, Any]) -> int:
    return int(record.get("time_ns", 0)) - int(record.get("duration_ns", 0))


def _duration(record: dict[str, Any]) -> str:
    return f"{record['duration_ns'] / 1e6:.2f} ms" if "duration_ns" in record else ""


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
