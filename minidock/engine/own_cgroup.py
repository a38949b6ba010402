"""The engine's own place among the cgroups: the leaf `engine` beside the containers.

Version 2 forbids processes in a cgroup whose children have controllers, so daemon, spawner and shims need a
leaf of their own (the children inherit it). At its end the engine goes back to where it came from, so that an
unused leaf can be removed. cgroups(7), "no internal processes" rule.
"""

import errno
import os
from collections.abc import Mapping

from minidock.kernel.cgroups import Cgroup, Hierarchy

LEAF = "engine"


class OwnCgroup:
    """Where this process was before it entered the leaf; `leave` goes back."""

    def __init__(self, leaf: Cgroup, former: Mapping[str, str]) -> None:
        self._leaf = leaf
        self._former = former

    @classmethod
    def enter(cls, hierarchy: Hierarchy, parent: str) -> "OwnCgroup":
        """Move this process with all its threads to the leaf of `parent`."""
        former = _current(hierarchy)
        leaf = hierarchy.at(f"/{parent.strip('/')}/{LEAF}")
        enter_leaf(leaf)
        return cls(leaf, former)

    def leave(self) -> None:
        """Go back, and remove the leaf unless shims still live in it. Never raises."""
        for directory in self._former.values():
            try:
                with open(os.path.join(directory, "cgroup.procs"), "w", encoding="ascii") as file:
                    file.write("0")
            except OSError:
                pass
        for directory in self._leaf.paths().values():
            for path in (
                directory,
                os.path.dirname(directory),
            ):  # the parent goes too when this was its last child
                try:
                    os.rmdir(path)
                except OSError:
                    break


def enter_leaf(leaf: Cgroup) -> None:
    """Make a cgroup and move this process there, also out of the parent itself.

    There it is in a unit that systemd delegated, or where a cgroup namespace begins: such a parent hands its
    controllers down as soon as its last process has left.
    """
    try:
        leaf.create(exist_ok=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        leaf.join()
        leaf.create(exist_ok=True)
    leaf.join()


def _current(hierarchy: Hierarchy) -> dict[str, str]:
    """Return the directory of this process's cgroup for each controller (/proc/PID/cgroup)."""
    found = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for name in controllers.split(",") if controllers else ["unified"]:
                if name in hierarchy.mounts:
                    found[name] = hierarchy.mounts[name] + path
    return found
