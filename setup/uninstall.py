"""`./demo --uninstall`: show what will go and what stays, then take it back.

Images and containers are the user's work: they stay, and the list says so, unless --data was given.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from setup import packages, places, privilege, record, remains
from setup.places import CGROUP_PARENT, DATA_ROOT, EXEC_ROOT


def main(data: bool) -> int:
    """List what goes and what stays, then take it back as root."""
    known = record.read()
    removed, kept = packages.removable(known.packages)
    goes, stays = _goes(known, removed), []
    if kept:
        stays.append(f"Debian packages that other software needs by now: {' '.join(kept)}")
    if DATA_ROOT.exists():
        line = f"{DATA_ROOT}: your images, containers and volumes"
        (goes if data else stays).append(line if data else f"{line} (./demo --uninstall --data deletes them)")
    _show("This goes:", goes)
    _show("This stays:", stays)
    if not goes:
        print("Nothing of minidock's set-up is on this machine.")
        return 0
    privilege.require("./demo --uninstall", "to take these away")
    code = privilege.run_step("uninstall", str(places.cache()), *(["--data"] if data else []))
    if code == 0:
        print("Done.")
    return code


def take_back(cache: str, data: bool) -> None:
    """Take everything back (needs root); `cache` is the calling user's."""
    _end_engine()
    known = record.read()
    removed, _ = packages.removable(known.packages)
    packages.remove(removed)
    for link in known.links:
        if os.path.islink(link) and os.readlink(link).startswith(f"{places.SYSTEM}/"):
            os.unlink(link)
    for directory in (places.SYSTEM, EXEC_ROOT, *([DATA_ROOT] if data else [])):
        remains.unmount_below(str(directory))
        shutil.rmtree(directory, ignore_errors=not directory.exists())
    # Root's own hands made some files below the cache (test results); the name guards against a
    # mistaken argument.
    if Path(cache).name == "minidock" and not Path(cache).is_symlink():
        shutil.rmtree(cache, ignore_errors=True)


def _goes(known: record.Record, removed: Sequence[str]) -> list[str]:
    lines = []
    if running := remains.processes(CGROUP_PARENT):
        lines.append(
            f"the running engine and its containers: {len(running)} processes in the cgroup {CGROUP_PARENT}"
        )
    lines += [f"the command {link}" for link in known.links if os.path.lexists(link)]
    lines += [str(path) for path in (places.SYSTEM, EXEC_ROOT, places.cache()) if path.exists()]
    if removed:
        lines.append(f"Debian packages that set-up added: {' '.join(removed)}")
    return lines


def _end_engine() -> None:
    """End the engine of the default directories, first politely, then by its cgroup."""
    if pid := remains.engine(EXEC_ROOT, CGROUP_PARENT):
        remains.terminate(pid, lambda: not os.path.exists(f"/proc/{pid}"))
    remains.end_cgroup(CGROUP_PARENT)


def _show(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(title)
        for line in lines:
            print(f"  - {line}")
