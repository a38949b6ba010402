"""Chapter 3's checks: four checkpoints, each green alone. The mount tree is read from outside, in mountinfo.

The sandbox's own tree is shared, as on every systemd host, and the subjects get copies of it.
"""

import os
import re
from contextlib import suppress

from minidock.kernel import mounts, namespaces
from minidock.learn.bench import Bench
from minidock.learn.subject import open_descriptors
from minidock.learn.wrong import expect

NEW = namespaces.CLONE_NEWNS


def _private():
    """Cut the subject's tree off by other means than the learner's, so that each checkpoint stands alone."""
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)


def _tmpfs(path, *names):
    mounts.mount("tmpfs", path, "tmpfs")
    for name in names:
        os.mkdir(f"{path}/{name}")


def _mount_at(lines, path):
    return [line for line in lines if line.split()[4] == path]


def _entries(path):
    """Return what a directory holds, None when it is not to be seen any more."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return None


def _shown(path, names):
    return f"{path} is not there any more" if names is None else f"it holds {names[:6]}"


def check_no_mount_propagates(bench: Bench) -> None:
    """Private tree: after isolate_mounts no mount of the namespace is shared with anybody."""
    contract = "isolate_mounts cuts every mount of this namespace off from its peers"
    with bench.start(lambda piece: piece.isolate_mounts(), NEW) as subject:
        bench.value(subject, "isolate_mounts", contract)
        lines = bench.eyes.mountinfo(subject.pid)
    shared = [line for line in lines if re.search(r" shared:\d+ ", line)]
    expect(
        not shared,
        contract,
        f"{len(shared)} of {len(lines)} are still shared, such as: {shared[-1] if shared else ''}",
        "a mount made or unmounted below a shared one appears in the other namespace too: MS_PRIVATE or "
        f"MS_SLAVE, and MS_REC for the whole tree; {bench.where('isolate_mounts')}",
    )
    closed = [line for line in lines if " unbindable " in line]
    expect(
        not closed,
        "the next step can still bind a directory",
        f"{len(closed)} of {len(lines)} are unbindable, such as: {closed[-1] if closed else ''}",
        "MS_PRIVATE or MS_SLAVE is enough, MS_UNBINDABLE forbids bind mounts besides; "
        f"{bench.where('isolate_mounts')}",
    )


def check_the_directory_becomes_a_mount_point(bench: Bench) -> None:
    """New root: a plain directory is a mount point of its own afterwards, with the same files."""
    path, token = bench.directory(), bench.token()

    def body(piece):
        _private()
        os.mkdir(f"{path}/{token}")
        piece.attach_root(path)
        return _entries(path)

    contract = f"attach_root({path}) makes that directory a mount point"
    with bench.start(body, NEW) as subject:
        names = bench.value(subject, "attach_root", contract)
        lines = _mount_at(bench.eyes.mountinfo(subject.pid), path)
    look = (
        "pivot_root takes mount points only: a directory becomes one by a bind mount onto itself; "
        f"{bench.where('attach_root')}"
    )
    expect(lines, contract, f"no line of mountinfo ends at {path}", look)
    expect(names == [token], f"it holds what the directory held: {token}", _shown(path, names), look)


def check_what_is_mounted_below_comes_along(bench: Bench) -> None:
    """New root: file systems mounted below the directory are still visible in it."""
    path, token = bench.directory(), bench.token()

    def body(piece):
        _private()
        os.mkdir(f"{path}/below")
        _tmpfs(f"{path}/below", token)
        piece.attach_root(path)
        return _entries(f"{path}/below")

    contract = f"{path}/below still shows the file system that was mounted on it"
    with bench.start(body, NEW) as subject:
        names = bench.value(subject, "attach_root", contract)
    look = "a bind mount copies one mount, and with MS_REC all below it"
    if names is None:
        look = f"something else lies over {path} now: what is bound, and where, is {path} itself"
    seen = _shown(f"{path}/below", names) + (": the empty directory beneath" if names == [] else "")
    expect(names == [token], contract, seen, f"{look}; {bench.where('attach_root')}")


def check_a_detached_mount_becomes_the_root(bench: Bench) -> None:
    """New root: a detached mount is attached at the directory."""
    path, token = bench.directory(), bench.token()

    def body(piece):
        _private()
        tree = mounts.detached("tmpfs", [])
        os.mkdir(token, dir_fd=tree)
        piece.attach_root(path, tree)
        return _entries(path)

    contract = f"attach_root({path}, rootfs) attaches the detached mount rootfs there"
    with bench.start(body, NEW) as subject:
        names = bench.value(subject, "attach_root", contract)
    look = (
        "a descriptor is given: move_mount(2) it instead of binding the directory; "
        f"{bench.where('attach_root')}"
    )
    expect(names == [token], f"{contract}, with {token} in it", _shown(path, names), look)


def check_the_descriptor_stays_the_callers(bench: Bench) -> None:
    """New root: the descriptor of the detached mount is still open afterwards."""
    path = bench.directory()

    def body(piece):
        _private()
        tree = mounts.detached("tmpfs", [])
        piece.attach_root(path, tree)
        return tree

    contract = "attach_root leaves the caller's descriptor alone"
    with bench.start(body, NEW) as subject:
        tree = bench.value(subject, "attach_root", contract)
        found = bench.eyes.descriptors(subject.pid)
    expect(
        tree in found,
        contract,
        f"descriptor {tree} is closed",
        f"who opened it closes it: the engine keeps the container's root by it; {bench.where('attach_root')}",
    )


def _bound(path, *names):
    for name in names:
        os.mkdir(f"{path}/{name}")
    mounts.mount(path, path, None, mounts.MS_BIND)


def _pivoting(bench: Bench, after=lambda: None, mounted=_tmpfs):
    """Return (path, token, body): a body that pivots into a mount holding `token`, from elsewhere."""
    path, token, elsewhere = bench.directory(), bench.token(), bench.directory()

    def body(piece):
        _private()
        mounted(path, token, "proc")
        os.chdir(elsewhere)
        before = [line.split()[0] for line in bench.eyes.mountinfo(os.getpid())]
        opened = open_descriptors()
        piece.pivot(path)
        left = [line for line in bench.eyes.mountinfo(os.getpid()) if line.split()[0] in before[:-1]]
        return {"opened": opened, "old": before[:-1], "left": left, "after": after()}

    return path, token, body


def _climb():
    """The escape of chapter 2; return what stands in the root at first, and in the one that it reaches."""
    os.chdir("/")
    first = sorted(os.listdir("/"))
    try:
        os.mkdir("/deeper")
    except OSError:  # in a root that is still the read-only old one nobody can make a directory
        return [first, first]
    os.chroot("/deeper")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return [first, sorted(os.listdir("/"))]


def _why_out(path, token, first, found, left):
    """Say which step is missing when somebody climbs out."""
    if token not in first and token in found:
        return f"the namespace's root is {path}, but this process's root is a directory below it: chroot?"
    if token not in first:
        return f"the root directory is not even {path}: it takes pivot_root(2) from within it"
    if left:
        return (
            "the root was changed, but the old one is still mounted (with `.` and `.` it lies on top of the "
            "new one): unmount it with MNT_DETACH"
        )
    return "only pivot_root(2) changes the root of the mount namespace, chroot changes one process's"


def check_nobody_climbs_out(bench: Bench) -> None:
    """Pivot: the new root is the namespace's root, and the escape of chapter 2 ends in it."""
    path, token, body = _pivoting(bench, _climb)
    contract = f"after pivot({path}) the root holds {token}, also for one who climbs as high as there is"
    with bench.start(body, NEW) as subject:
        facts = bench.value(subject, "pivot", contract)
    first, found = facts["after"]
    expect(
        token in first and token in found,
        contract,
        f"the {'escape reached a' if token in first else 'process has another'} root with "
        f"{', '.join((found if token in first else first)[:8]) or 'nothing'}",
        f"{_why_out(path, token, first, found, facts['left'])}; {bench.where('pivot')}",
    )


def check_the_old_root_is_gone(bench: Bench) -> None:
    """Old root: no mount of the old tree is left in the namespace."""
    _path, token, body = _pivoting(bench, lambda: sorted(os.listdir("/")))
    contract = "after pivot nothing of the old tree is mounted any more"
    with bench.start(body, NEW) as subject:
        facts = bench.value(subject, "pivot", contract)
        sights = {_SEEN: facts["left"]}
        for look in (_JOINED, _COVERED):
            with bench.start(_joining(bench, subject.pid)) as joined:
                seen = bench.value(joined, "pivot", contract)
            sights[look] = [line for line in seen if line.split()[0] in facts["old"]]
    look, left = next(((look, left) for look, left in sights.items() if left), ("", [""]))
    expect(
        not look,
        contract,
        f"{len(left)} of its mounts are still there: {left[0]}",
        f"{look}; {bench.where('pivot')}",
    )
    more = ", ".join(sorted(set(facts["after"]) - {token, "proc"}))
    look = f"the place that the old root was put in has served: os.rmdir it; {bench.where('pivot')}"
    expect(not more, "the new root holds what it held before", f"it holds {more} too", look)


_SEEN = "the old root must be unmounted with all below it (umount with MNT_DETACH)"
_JOINED = (
    "this process does not see them, but who joins its namespace does: chroot hides them from one process, "
    "and only pivot_root(2) changes the root of the namespace"
)
_COVERED = (
    "they are covered and not gone: when what lies on / now is unmounted, the old root is there again; only "
    "pivot_root(2) takes it away from beneath"
)


def _joining(bench, pid):
    """Return a body that joins the mount namespace of `pid`, whose own root setns(2) gives it, returns the
    mounts that it sees there, and unmounts the uppermost: the next one that joins sees what that covered.
    """

    def body(_piece):
        joined = os.open(f"{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=bench.eyes.descriptor)
        namespaces.setns(joined, NEW)
        seen = bench.eyes.mountinfo(os.getpid())
        with suppress(OSError):  # the last one of a namespace stays
            mounts.umount("/", mounts.MNT_DETACH)
        return seen

    return body


def check_the_process_stands_in_its_root(bench: Bench) -> None:
    """Old root: the working directory is the new root afterwards."""
    _path, token, body = _pivoting(bench, lambda: sorted(os.listdir(".")), _bound)
    contract = "after pivot the working directory is /"
    with bench.start(body, NEW) as subject:
        names = bench.value(subject, "pivot", contract)["after"]
        directory = bench.eyes.link(f"{subject.pid}/cwd")
    look = (
        f"a working directory outside the root is a way out of it: chdir at the end; {bench.where('pivot')}"
    )
    expect(token in names, contract, f"it is {directory}, which holds {names[:6]}", look)


def check_no_descriptor_is_left(bench: Bench) -> None:
    """Old root: pivot leaves no descriptor open."""
    _path, _token, body = _pivoting(bench)
    contract = "pivot closes what it opened"
    with bench.start(body, NEW) as subject:
        opened = bench.value(subject, "pivot", contract)["opened"]
        found = bench.eyes.descriptors(subject.pid)
    more = {number: target for number, target in found.items() if number not in opened}
    expect(
        not more,
        contract,
        ", ".join(f"{number} -> {target}" for number, target in more.items()),
        "fchdir to a descriptor of the old root would lead out of the new one: close it; "
        f"{bench.where('pivot')}",
    )


def check_an_impossible_pivot_is_an_error(bench: Bench) -> None:
    """Pivot: when pivot_root fails, so does pivot; there is no second-best root."""
    path, elsewhere = bench.directory(), bench.directory()

    def body(piece):
        _private()
        os.chdir(elsewhere)
        piece.pivot(path)

    contract = f"pivot({path}) raises OSError: that directory is not a mount point"
    look = (
        "where the root cannot be changed no program may start: was the error swallowed, or pivot_root(2) "
        "never called?"
    )
    with bench.start(body, NEW) as subject:
        bench.raised(subject, "pivot", contract, look)
