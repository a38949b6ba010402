"""`./demo --uninstall`: show what will go and what stays, then take it back.

It takes back what any checkout has added to this machine: there is one record and one cache for all of them.
Images and containers are the user's work: they stay, and the list says so, unless --data was given.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from setup import in_use, packages, places, privilege, record, remains
from setup.places import CGROUP_PARENT, DATA_ROOT, EXEC_ROOT

SHOWN = 5  # users of what would be removed that are named


def main(data: bool, force: bool = False) -> int:
    """List what goes and what stays, then take it back as root; `force`: also what somebody uses."""
    known = record.read()
    if not force:
        refuse_in_use(places.cache())
    if known.packages:
        count = len(known.packages)
        print(f"Asking apt which of the {count} packages that set-up has added are needed by others by now;")
        print("that may take a second for each.", flush=True)
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
    options = ["--data"] * data + ["--force"] * force
    code = privilege.run_step("uninstall", str(places.cache()), *options)
    if code == 0:
        print("Done.")
    return code


def take_back(cache: str, data: bool, force: bool) -> None:
    """Take everything back (needs root); `cache` is the calling user's. Refused when somebody uses it."""
    if not force:
        refuse_in_use(Path(cache))
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


def refuse_in_use(cache: Path) -> None:
    """Raise Refused when a process runs out of what would be removed; the engine's own are ended and do not
    count.
    """
    users = in_use.processes([places.SYSTEM, cache], remains.processes(CGROUP_PARENT))
    if not users:
        return
    lines = [f"  {pid}  uses {directory}: {in_use.command(pid)}" for pid, directory in users.items()]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    words = (
        "Processes run out of what would be removed, another clone's ./test perhaps. End them first, or go "
        "on all the same with --force:"
    )
    raise privilege.Refused("\n".join([words, *lines[:SHOWN], *more]))


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
