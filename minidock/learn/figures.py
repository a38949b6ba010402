"""One figure for each chapter, drawn from a sandbox in which the engine's own functions have just run.

Nothing is drawn by hand: what a figure shows was read in /proc a moment ago. Numbers differ from run to
run; the shape does not.
"""

import os
from collections.abc import Callable, Collection

from minidock.errors import MinidockError
from minidock.kernel import mounts, namespaces
from minidock.learn import sandbox, source
from minidock.learn.bench import Bench
from minidock.learn.chapters import Chapter
from minidock.learn.eyes import Eyes
from minidock.learn.piece import Piece
from minidock.learn.subject import open_descriptors

_ARROW = {0: "-->", 1: "<--", 2: "<--"}
_KINDS = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")


def draw(chapter: Chapter) -> str:
    """Return the chapter's figure."""
    figure = FIGURES[chapter.number]

    def inside(_records: int) -> None:
        bench = Bench(Piece("solution.py", source.solution(chapter)), chapter, 1)
        print("\n".join(figure(bench)), flush=True)

    room = sandbox.Room()
    with sandbox.limits(room) as group:
        stay = sandbox.stay(inside, group, room)
    for record in stay.records:
        raise MinidockError(f"the figure could not be drawn: {record}")
    return stay.printed.rstrip()


def _process(bench: Bench) -> list[str]:
    """Chapter 1: the descriptors of a process before and after execute."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def body(piece):  # type: ignore[no-untyped-def]
        examiners = {*open_descriptors()} - {0, 1, 2, reading, writing}
        leaked = os.open("/etc", os.O_RDONLY)
        os.set_inheritable(leaked, True)
        shown = _descriptors(bench.eyes, os.getpid(), "before: a copy of the engine", examiners)
        os.write(2, shown.encode())
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        piece.execute(["/bin/cat"], {"PATH": "/bin"}, [reading, null, null])

    with bench.start(body) as subject:
        bench.program(subject, "execute", "execute becomes the program")
        bench.settle(subject.pid, "/bin/cat")
        lines = _descriptors(bench.eyes, subject.pid, "after: the same process").splitlines()
    os.close(writing)
    return lines


def _descriptors(eyes: Eyes, pid: int, title: str, left_out: Collection[int] = ()) -> str:
    status = eyes.status(pid)
    lines = [
        f"{title}, pid {pid}, {os.path.basename(eyes.link(f'{pid}/exe'))}",
        f"  SigIgn {status['SigIgn']}",
    ]
    for number, target in sorted(eyes.descriptors(pid).items()):
        if number in left_out or target == f"/{pid}/fd":  # that was this look
            continue
        lines.append(f"  {number:4} {_ARROW.get(number, '---')} {target}")
    return "\n".join(lines) + "\n"


def _root(bench: Bench) -> list[str]:
    """Chapter 2: where paths begin, for a bystander, inside the chroot, and after the escape."""
    path = bench.directory()
    os.mkdir(f"{path}/bin")
    lines = []

    def jailed(piece):  # type: ignore[no-untyped-def]
        piece.enter_chroot(path)

    def escaped(piece):  # type: ignore[no-untyped-def]
        piece.enter_chroot(path)
        piece.escape()

    lines.append(_root_of(bench, 1, "a bystander"))
    for title, body in (("in the chroot", jailed), ("after the escape", escaped)):
        with bench.start(body) as subject:
            bench.value(subject, "enter_chroot", title)
            lines.append(_root_of(bench, subject.pid, title))
    return lines


def _root_of(bench: Bench, pid: int, title: str) -> str:
    entries = bench.eyes.root_entries(pid)
    shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "")
    return f"{title:17} /proc/{pid}/root -> {bench.eyes.link(f'{pid}/root'):22} holds {shown}"


def _mounts(bench: Bench) -> list[str]:
    """Chapter 3: the mount tree of one process, as it is at each checkpoint."""
    path = bench.directory()

    def body(piece):  # type: ignore[no-untyped-def]
        os.mkdir(f"{path}/proc")
        steps = (
            lambda: None,
            piece.isolate_mounts,
            lambda: piece.attach_root(path),
            lambda: piece.pivot(path),
        )
        moments = []
        for step in steps:
            step()
            moments.append(bench.eyes.mountinfo(os.getpid()))
        return moments

    with bench.start(body, namespaces.CLONE_NEWNS) as subject:
        moments = bench.value(subject, "pivot", "pivot returns")
    titles = ("the namespace begins as a copy", "after isolate_mounts", "after attach_root", "after pivot")
    return [line for pair in zip(titles, moments, strict=True) for line in (pair[0], *_mount_tree(pair[1]))]


def _mount_tree(mountinfo: list[str]) -> list[str]:
    """Draw the mounts of a few places as a tree, with their propagation."""
    shown = ("/", "/dev", "/proc", "/scratch")
    lines = []
    for line in mountinfo:
        fields = line.partition(" - ")[0].split()
        number, parent, at, tags = fields[0], fields[1], fields[4], " ".join(fields[6:]) or "private"
        if at in shown or at.startswith("/scratch/"):
            depth = 0 if at == "/" else 1 + at.count("/") - 1
            lines.append(f"  {'  ' * depth}{at:<{26 - 2 * depth}} mount {number} on {parent}, {tags}")
    return lines


def _namespaces(bench: Bench) -> list[str]:
    """Chapter 4: the namespaces of a caller and its child, and what each sees of processes."""

    def child() -> None:
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
        mounts.mount("proc", "/proc", "proc")
        while True:
            os.read(os.eventfd(0), 8)

    with bench.start(lambda piece: piece.clone_child(["pid", "mount", "uts", "ipc"], child)) as subject:
        pid = bench.value(subject, "clone_child", "clone_child returns")
        lines = [f"{'':8} {'caller, pid ' + str(subject.pid):24} child, pid {pid}"]
        for kind in _KINDS:
            ours, theirs = bench.eyes.namespace(subject.pid, kind), bench.eyes.namespace(pid, kind)
            lines.append(f"{kind:8} {ours:24} {theirs if theirs != ours else '(the same)':24}".rstrip())
        seen = bench.eyes.status(pid)["NSpid"].split()
        lines.append(
            f"the child is process {' and '.join(seen)}: one number in each pid namespace that sees it"
        )
        os.kill(pid, 9)
    return lines


FIGURES: dict[int, Callable[[Bench], list[str]]] = {1: _process, 2: _root, 3: _mounts, 4: _namespaces}
