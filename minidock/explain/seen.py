"""What /proc shows of processes, as lines for a drawing: who made whom, what each holds, what it may.

Names, arguments and paths come from inside containers: what is not printable is shown as `?`, so that they
cannot speak to the reader's terminal. proc_pid_status(5), proc_pid_fd(5), namespaces(7).
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from minidock.kernel import capabilities, namespaces

WIDTH = 108
STANDARD = {0: "<--", 1: "-->", 2: "-->"}
MODES_OF_SECCOMP = {"0": "no seccomp filter", "1": "seccomp in strict mode", "2": "a seccomp filter"}


@dataclass(frozen=True)
class Process:
    """One process: `inside` is its pid in its own pid namespace, `is_sealed` that it is ours and runs from a
    memfd.
    """

    pid: int
    parent: int
    inside: int
    command: str
    threads: int
    is_sealed: bool

    def __str__(self) -> str:
        inside = "" if self.inside == self.pid else f", {self.inside} inside"
        return f"pid {self.pid}{inside}"


def process(pid: int) -> Process:
    """Read one process; ProcessLookupError or FileNotFoundError when it has ended."""
    facts = status(pid)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = os.fsdecode(file.read()).rstrip("\0").split("\0")
    executable = ""
    with suppress(OSError):  # a thread of the kernel has none
        executable = os.readlink(f"/proc/{pid}/exe")
    return Process(
        pid=pid,
        parent=int(facts["PPid"]),
        inside=int(facts["NSpid"].split()[-1]),
        command=printable(" ".join(words) or facts["Name"]),
        threads=int(facts["Threads"]),
        is_sealed=executable.startswith("/memfd:minidock"),
    )


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a table."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def above(pid: int) -> list[Process]:
    """Return who made the process, its parent first: the shim, the spawner, the daemon."""
    found = [process(process(pid).parent)]
    while found[-1].is_sealed and found[-1].parent:
        found.append(process(found[-1].parent))
    return found


def tree(ancestors: Sequence[Process], members: Iterable[int]) -> list[str]:
    """Draw the container's processes (`members`, host pids) below those that made them, the oldest first."""
    lines = []
    for depth, one in enumerate(reversed(ancestors)):
        role = _role(len(ancestors) - 1 - depth, one)
        lines.append(cut(f"{'   ' * (depth - 1) + '└─ ' if depth else ''}{role}{one}{_words(role, one)}"))
    found = {}
    for pid in members:
        with suppress(OSError):  # it has ended meanwhile
            found[pid] = process(pid)
    roots = [one for one in found.values() if one.parent not in found]
    return lines + _branches(roots, found, "   " * (len(ancestors) - 1))


def _branches(roots: Sequence[Process], found: dict[int, Process], indent: str) -> list[str]:
    """Draw processes and what they made. No recursion: a container may have a long line of descent."""
    children: dict[int, list[Process]] = {}
    for one in found.values():
        children.setdefault(one.parent, []).append(one)
    lines = []
    pending = [(one, indent, one is roots[-1]) for one in reversed(roots)]
    while pending:
        one, indent, is_last = pending.pop()
        lines.append(cut(f"{indent}{'└─' if is_last else '├─'} {one}: {one.command}"))
        below, deeper = children.get(one.pid, []), (indent + ("   " if is_last else "│  "))[:WIDTH]
        pending += [(child, deeper, child is below[-1]) for child in reversed(below)]
    return lines


def _role(distance: int, one: Process) -> str:
    if one.is_sealed:
        return ("shim, ", "spawner, ")[min(distance, 1)]
    return "daemon, " if distance == 2 else ""


def _words(role: str, one: Process) -> str:
    if one.is_sealed:
        return f": {'one thread' if one.threads == 1 else f'{one.threads} threads'}, a sealed copy of Python"
    return "" if role else f": {one.command}"


def namespace_lines(pid: int, host: int) -> list[str]:
    """Return each kind of namespace, its inode, and whether it is the one that process `host` is in."""
    lines = []
    for name, kind in namespaces.NAMES.items():
        with suppress(FileNotFoundError):  # a kernel without time namespaces
            inode, theirs = namespaces.inode(pid, name), namespaces.inode(host, name)
            whose = "the host's" if inode == theirs else "not the host's"
            lines.append(f"{name:8} {kind.file + f':[{inode}]':20} {whose}")
    return lines


def descriptor_lines(pid: int, shim: int, log: str) -> list[str]:
    """Return what the program's standard descriptors are, and which of the shim's hold their other ends."""
    ours, theirs = descriptors(pid), descriptors(shim)
    lines = []
    for number, arrow in STANDARD.items():
        if number not in ours:
            lines.append(f"{number} closed")
            continue
        target = ours[number]
        ends = [other for other, held in theirs.items() if _is_other_end(target, held)]
        end = f" {arrow} {', '.join(map(str, ends))} of the shim" if ends else ""
        lines.append(cut(f"{number} {arrow} {printable(target)}{end}"))
    others = sorted(set(ours) - set(STANDARD))
    if others:
        lines.append(f"besides: {', '.join(map(str, others[:20]))}{', ...' if len(others) > 20 else ''}")
    written = [number for number, held in theirs.items() if log and held == log]
    if written:
        lines.append(f"the log: {written[0]} of the shim --> {log}")
    return lines


def _is_other_end(target: str, held: str) -> bool:
    if target.startswith("/dev/pts/"):
        return held.startswith("/dev/pts/ptmx") or held == "/dev/ptmx"
    return held == target and target.startswith(("pipe:", "socket:"))


def descriptors(pid: int) -> dict[int, str]:
    """Return a process's open descriptors and what they are."""
    found = {}
    for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        with suppress(FileNotFoundError):  # closed meanwhile
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def rights_lines(pid: int) -> list[str]:
    """Return as whom the process runs, and what is left of root's rights."""
    facts = status(pid)
    uid, gid = facts["Uid"].split()[1], facts["Gid"].split()[1]
    held = capabilities.names(int(facts["CapEff"], 16))
    every = capabilities.last_capability() + 1
    words = ", ".join(name.removeprefix("CAP_").lower() for name in held) or "none"
    gains = "may not gain rights by execve" if facts.get("NoNewPrivs") == "1" else "setuid programs work"
    return [
        f"user {uid}, group {gid}; {MODES_OF_SECCOMP.get(facts.get('Seccomp', '0'), 'seccomp')}; {gains}",
        *wrapped(f"{len(held)} of {every} capabilities: {words if len(held) < every else 'all'}"),
    ]


def printable(text: str) -> str:
    """Return the text with `?` for whatever a terminal would not show as it is."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def cut(text: str) -> str:
    """Return a line that fits."""
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def wrapped(text: str) -> list[str]:
    """Return the text as lines that fit; those after the first are indented."""
    import textwrap

    return textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)
