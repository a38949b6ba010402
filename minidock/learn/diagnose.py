"""From an errno to its cause: which of the reasons that a man page lists is the one here.

The manual gives pivot_root(2) five reasons for EINVAL. Which one it is stands in the process's own
mountinfo at that moment, so it is read there, and the line is shown. mount(2), pivot_root(2), setns(2),
proc(5).
"""

import builtins
import errno
import os
import re
from typing import TYPE_CHECKING, Any

from minidock.learn.wrong import Wrong

if TYPE_CHECKING:
    from minidock.learn.bench import Bench
    from minidock.learn.subject import Subject

_OF_FIVE = "of the five causes of EINVAL yours is:"
_CALL = re.compile(r"the system call was (\w+)\(2\)")


def exception(
    bench: "Bench", subject: "Subject", facts: dict[str, Any], function: str, contract: str
) -> Wrong:
    """Word an exception that a learner's function raised, or let through."""
    kind, message = facts["raised"], facts["message"]
    if facts["function"] in bench.chapter.functions:
        function = facts["function"]  # it may be called by the one that is on trial
    where = bench.where(function)
    if facts["line"]:
        where = f"line {facts['line']} of {bench.piece.path}"
        code = facts["code"] or line(bench.piece.text, facts["line"])
        where += f": {code.strip()}" if code else ""
    if kind == "NotImplemented" + "Error":
        return Wrong(contract, f"{function} is not written yet", bench.where(function))
    if kind == "NotYours":
        return Wrong(contract, message, bench.where(function))
    if kind == "SyntaxError":
        return Wrong(contract, f"the file is not Python: {message}", where)
    if facts["errno"] is None:
        cause = _out_of_sight(bench, subject) if issubclass(_builtin(kind), ImportError) else ""
        return Wrong(contract, f"{kind}: {message}", f"{cause}; {where}" if cause else where)
    name = errno.errorcode.get(facts["errno"], str(facts["errno"]))
    call = next((found[1] for note in facts["notes"] if (found := _CALL.search(note))), "")
    what = f"{name} ({os.strerror(facts['errno']).lower()})"
    if facts["filename"]:
        what += f" for {facts['filename']}"
    seen = f"{call or facts['function'] or function}: {what}"
    if not facts["line"]:  # no line of the learner's file raised it
        return Wrong(contract, f"{function} came back, and the check's own look after it met {what}", where)
    cause = _cause(bench, subject, call, name, facts["filename"])
    return Wrong(contract, seen, f"{cause}; {where}" if cause else where)


def leaked_mounts(gone: list[str], new: list[str]) -> str:
    """Say why a bystander's mounts changed."""
    if not gone and not new:
        return ""
    shared = next((line for line in [*gone, *new] if "shared:" in line), "")
    peer = re.search(r"shared:\d+", shared)
    return (
        "the mounts were made or unmounted in a tree that still propagates"
        + (f" ({peer[0]} is the peer group of both)" if peer else "")
        + ": make the whole tree private or a slave first (MS_PRIVATE or MS_SLAVE, with MS_REC)"
    )


def _builtin(kind: str) -> type:
    found = getattr(builtins, kind, None)
    return found if isinstance(found, type) else type(None)


def _out_of_sight(bench: "Bench", subject: "Subject") -> str:
    """Say why a module of the standard library may be missing: its files lie outside of the present root."""
    if bench.eyes.root_entries(subject.pid) == bench.eyes.root_entries(1):
        return ""
    return (
        "the root directory is another one here, and Python's library lies outside of it: import at the head "
        "of the file, where it is still in sight"
    )


def _cause(bench: "Bench", subject: "Subject", call: str, name: str, path: str) -> str:
    lines = bench.eyes.mountinfo(subject.pid)
    if call == "pivot_root":
        return _pivot_root(lines, name, path, bench, subject)
    if call == "umount2" and name == "EBUSY":
        return (
            "it is in use: something is mounted below it, or a process stands in it, this one too; "
            "MNT_DETACH takes it out of sight at once, with all below it"
        )
    if not call and name == "ENOSPC":
        return (
            "once connect is done, what is printed goes to the program's own output, and here that is "
            "/dev/full: print before connect"
        )
    if name == "EBADF":
        return "it is closed by now: what is given may be given twice, or used again, so close copies alone"
    if call == "setns" and name == "EINVAL":
        return "the descriptor is not of the kind of namespace that the flag names"
    if call == "mount" and name == "EINVAL" and "unbindable" in _nearest(lines, path):
        return f"nothing of an unbindable mount can be bound; {_nearest(lines, path)}"
    if call == "mount" and name == "EINVAL" and _mount_at(lines, path) is not None:
        return (
            f"{path} is a mount point, so it is the flags: to change how a mount propagates takes exactly "
            "one of MS_PRIVATE, MS_SLAVE, MS_SHARED and MS_UNBINDABLE, with MS_REC or without"
        )
    if call and name == "ENOENT" and bench.eyes.root_entries(subject.pid) != bench.eyes.root_entries(1):
        return (
            f"paths count from the new root now, and in that there is no {path or 'such file'}: where does "
            "the old root lie, seen from here?"
        )
    if call in ("umount2", "mount") and name == "EINVAL":
        return f"{path or 'the path'} is not a mount point; {_nearest(lines, path)}"
    return ""


def _pivot_root(lines: list[str], name: str, path: str, bench: "Bench", subject: "Subject") -> str:
    if _mount_at(lines, "/") is None:
        return (
            "nothing is mounted at / any more: the root was unmounted before this call, which is to put the "
            "new one in its place; unmount the old root afterwards"
        )
    is_here = path in ("", ".")
    target = bench.eyes.link(f"{subject.pid}/cwd") if is_here else os.path.realpath(path)
    mount = _mount_at(lines, target)
    if is_here and mount is None and name in ("EBUSY", "EINVAL"):
        return (
            f"`.` is your working directory, {target}, and that is no mount point: chdir to the new root "
            f"first; {_nearest(lines, target)}"
        )
    if name == "ENOENT" and bench.eyes.has_directory(subject.pid, target):
        return f"the new root {target} is there, so it is put_old that is missing: make that directory first"
    if name == "EBUSY":
        return (
            f"pivot_root says EBUSY when the new root lies on the present root's mount: {target} is not a "
            f"mount point of its own; {_nearest(lines, target)}"
        )
    if name != "EINVAL":
        return ""
    if mount is None:
        return f"{_OF_FIVE} {target} is not a mount point; {_nearest(lines, target)}"
    if "shared:" in _tags(mount):
        return f"{_OF_FIVE} the new root itself is shared: {mount}"
    parent = next((line for line in lines if line.split()[0] == mount.split()[1]), None)
    if parent is not None and "shared:" in _tags(parent):
        number, _, at = parent.split()[0], parent.split()[1], parent.split()[4]
        tag = re.search(r"shared:\d+", parent)
        return f"{_OF_FIVE} the parent mount {number} `{at}` is {tag[0] if tag else ''}: {parent}"
    return f"{_OF_FIVE} the place for the old root is not at or below the new root"


def _nearest(lines: list[str], path: str) -> str:
    """Show the mount on which `path` lies."""
    best = max(
        (
            line
            for line in lines
            if path == line.split()[4] or path.startswith(line.split()[4].rstrip("/") + "/")
        ),
        key=lambda line: len(line.split()[4]),
        default="",
    )
    return f"the mount it lies on is: {best}" if best else "no mount of this process holds it"


def _mount_at(lines: list[str], path: str) -> str | None:
    found = [line for line in lines if line.split()[4] == path]
    return found[-1] if found else None


def _tags(line: str) -> str:
    return " ".join(line.partition(" - ")[0].split()[6:])


def line(text: str, number: int) -> str:
    """Return a line of a file by its number, counted from 1; "" when there is none."""
    lines = text.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""
