"""`minidock explain CONTAINER`: a container that runs, drawn from what the kernel says about it right now.

The engine is asked only for what the kernel does not know: names, and where the image's layers lie.
Everything else is read in /proc, in the cgroup, over netlink and from nftables, and each part says how to
look for oneself.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from minidock.errors import Conflict, Unavailable
from minidock.explain import layers, limits, packets, seen
from minidock.kernel import cgroups

Lines = list[str]
CHAPTERS_OF = {
    "Processes": "1",
    "Descriptors": "1",
    "Namespaces": "4",
    "Rights": "6",
    "Cgroup": "5",
    "Layers": "7",
    "Mounts": "3",
    "Packets": "11 and 12",
}


def draw(container: Mapping[str, Any], host: str) -> str:
    """Return the picture; `container` is what inspect answers, `host` where its engine was found.

    Conflict when it does not run, or ends while it is looked at; Unavailable without root, or when its
    processes are not to be seen from here.
    """
    name, pid = str(container["Name"]).lstrip("/"), int(container["State"]["Pid"])
    if not pid:
        status = container["State"]["Status"]
        raise Conflict(f"container {name} is {status}: only one that runs can be drawn (docker start {name})")
    if os.geteuid() != 0:
        raise Unavailable("explain looks into the container's processes, which needs root: run it with sudo")
    _check_is_here(container, pid, host)
    try:
        parts = _parts(container, pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        if os.path.exists(f"/proc/{pid}/ns"):
            raise
        raise Conflict(f"container {name} has ended while it was looked at") from error
    return "\n".join([_title(container, name), *parts]) + "\n"


def _check_is_here(container: Mapping[str, Any], pid: int, host: str) -> None:
    """Tell apart a process of this machine with the same number: the cgroup has the container's id."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            if str(container["Id"]) in file.read():
                return
    except FileNotFoundError:
        pass
    raise Unavailable(
        f"process {pid} of this machine is not that of the container: run explain where the engine at {host} "
        "runs"
    )


def _title(container: Mapping[str, Any], name: str) -> str:
    words = " ".join([container["Path"], *container["Args"]])
    state, image = container["State"]["Status"], container["Config"]["Image"]
    return seen.cut(
        seen.printable(f"{name} ({container['Id'][:12]}), {state}, of the image {image}: {words}")
    )


def _parts(container: Mapping[str, Any], pid: int) -> Lines:
    """Return the sections. The shim, the program's parent, is a process in the host's namespaces."""
    ancestors = seen.above(pid)
    shim = ancestors[0].pid
    path = limits.path_of(pid)
    group = cgroups.at(path) if path.strip("/") and "/.." not in path else None
    members = group.processes() if group is not None else [pid]
    driver: dict[str, str] = (container.get("GraphDriver") or {}).get("Data") or {}
    sections: list[tuple[str, str, Callable[[], Lines]]] = [
        ("Processes", f"ps -f --ppid {shim}", lambda: seen.tree(ancestors, members)),
        ("Descriptors", f"ls -l /proc/{pid}/fd /proc/{shim}/fd",
         lambda: seen.descriptor_lines(pid, shim, container.get("LogPath", ""))),
        ("Namespaces", f"ls -l /proc/{pid}/ns /proc/{shim}/ns", lambda: seen.namespace_lines(pid, shim)),
        ("Rights", f"cat /proc/{pid}/status", lambda: seen.rights_lines(pid)),
        ("Cgroup", f"cat /proc/{pid}/cgroup", lambda: _cgroup(group)),
        ("Layers", f"grep ' / / ' /proc/{pid}/mountinfo", lambda: layers.root_lines(pid, driver)),
        ("Mounts", f"cat /proc/{pid}/mountinfo", lambda: layers.mount_lines(pid)),
        ("Packets", f"nsenter -t {pid} -n ip addr; nft list ruleset", lambda: packets.lines(pid, shim)),
    ]  # fmt: skip
    drawn: Lines = []
    for title, look, lines in sections:
        chapter = CHAPTERS_OF[title]
        word = "chapters" if " " in chapter else "chapter"
        drawn += ["", f"{title} ({word} {chapter})    $ {look}", *(f"  {line}" for line in lines())]
    return drawn


def _cgroup(group: cgroups.Cgroup | None) -> Lines:
    if group is None:
        return ["not to be seen from this cgroup namespace"]
    return [seen.cut(group.path), *limits.lines(group)]
