"""Chapter 2's checks: a process's root is looked at from outside, at /proc/PID/root."""

import os
import subprocess
import sys
from contextlib import contextmanager

from minidock.learn.bench import Bench
from minidock.learn.wrong import expect


def check_names_stay_what_they_are(bench: Bench) -> None:
    """A name of an archive becomes its components, with `.`, `//` and inner `..` resolved."""
    one, two, three = bench.token(), bench.token(), bench.token()
    cases = {
        f"{one}/{two}": [one, two],
        f"./{one}//{two}/": [one, two],
        f"/{one}": [one],
        f"{one}/{two}/../{three}": [one, three],
        f"{one}/..{two}/...": [one, f"..{two}", "..."],
        f"..{one}": [f"..{one}"],
        f"{one}/../..{two}/{three}": [f"..{two}", three],
        f"{one}/../{two}/../{three}": [three],
        "./": [],
    }
    for name, wanted in cases.items():
        look = (
            "`.` and empty components mean nothing, a leading `/` neither: names count from the archive's "
            "root; `..` takes back one"
        )
        if wanted and wanted[0].startswith(".."):
            look = "`..` is a whole component: a name that only begins with two dots is a name like any other"
        contract = f"split_name({name!r}) returns {wanted}"
        got = bench.call("split_name", name, contract=contract, look=look, returns=list)
        expect(got == wanted, contract, repr(got), f"{look}; {bench.where('split_name')}")


def check_names_that_lead_out_are_refused(bench: Bench) -> None:
    """A name that leads out of the archive's root is refused, wherever its `..` stand."""
    one, two = bench.token(), bench.token()
    for name in (f"../{one}", f"{one}/../../{two}", f"{one}/{two}/../../../etc/passwd", f"/../{one}", ".."):
        contract = f"split_name({name!r}) raises InvalidParameter"
        with bench.start(lambda piece, name=name: piece.split_name(name)) as subject:
            if bench.outcome(subject).get("raised") != "InvalidParameter":
                look = "unpacked as root, such a name would write outside of the image"
                got = bench.value(subject, "split_name", contract, look)
                expect(False, contract, f"it returned {got!r}", f"{look}; {bench.where('split_name')}")


def _jail(bench):
    path, token = bench.directory(), bench.token()
    os.mkdir(f"{path}/{token}")
    return path, token


def check_the_directory_is_the_root(bench: Bench) -> None:
    """After enter_chroot(path) the process's root directory is path."""
    for is_relative in (False, True):
        path, token = _jail(bench)
        above, name = os.path.split(path)
        given = name if is_relative else path

        def body(piece, given=given, above=above):
            os.chdir(above)
            piece.enter_chroot(given)

        contract = f"after enter_chroot({given!r}) the root directory holds {token} and nothing else"
        mishap = (
            f"the working directory was {above}, and a relative path counts from it: after a chdir into "
            f"{name} the root is `.`"
            if is_relative
            else f"once {path} is the root, it is called `/`: there is no {path} in it"
        )
        with bench.start(body) as subject:
            bench.value(subject, "enter_chroot", contract, mishap)
            found = bench.eyes.root_entries(subject.pid)
        look = "a working directory is not a root: chroot(2) changes where / is"
        expect(found == [token], contract, ", ".join(found[:8]), f"{look}; {bench.where('enter_chroot')}")


def check_the_process_stands_in_its_root(bench: Bench) -> None:
    """After enter_chroot(path) the working directory is inside."""
    path, token = _jail(bench)

    def body(piece):
        piece.enter_chroot(path)
        return sorted(os.listdir("."))

    contract = f"after enter_chroot({path}) the working directory is the new root"
    with bench.start(body) as subject:
        names = bench.value(subject, "enter_chroot", contract)
        directory = bench.eyes.link(f"{subject.pid}/cwd")
    look = (
        "chroot(2) does not change the working directory: `..` leads anywhere from there, unless one steps "
        f"into the new root; {bench.where('enter_chroot')}"
    )
    place = "the old root" if names == bench.eyes.root_entries(1) else "outside"
    seen = f"it is {directory}: {place}, which holds {', '.join(names[:4])}"
    expect(names == [token] or directory == path, contract, seen, look)


def check_a_missing_root_is_an_error(bench: Bench) -> None:
    """A directory that is not there is an error; the program does not start in the old root."""
    path = f"{bench.scratch}/{bench.token()}"
    contract = f"enter_chroot({path}) raises OSError(ENOENT)"
    with bench.start(lambda piece: piece.enter_chroot(path)) as subject:
        look = "an error that is swallowed starts the program in the host's root: let it out"
        bench.raised(subject, "enter_chroot", contract, look)


def check_the_escape_reaches_the_real_root(bench: Bench) -> None:
    """From a chroot thousands of directories deep, escape() gets back to the real root directory."""
    depth = bench.random.randrange(10_200, 11_000)
    jail = _deep(bench, depth)
    wanted = bench.eyes.root_entries(1)
    loaded = _modules_of_its_own(bench)

    def body(piece):
        os.fchdir(jail)
        os.close(jail)
        os.chroot(".")
        os.chdir("/")
        with _only(loaded):
            piece.escape()

    holds = ", ".join(wanted[:4])
    contract = (
        f"escape() leads from a chroot {depth} directories deep to the real root, which holds {holds}, "
        "however deep that chroot is"
    )
    with bench.start(body) as subject:
        bench.value(subject, "escape", contract)
        found = bench.eyes.root_entries(subject.pid)
        seen, look = _how_far(bench, subject.pid, os.fstat(jail), ", ".join(found[:8]) or "nothing")
    expect(found == wanted, contract, seen, f"{look}; {bench.where('escape')}")


def _deep(bench, depth):
    """Make a directory `depth` levels below the scratch, too deep for any path; return its descriptor."""
    here = os.open(bench.scratch, os.O_PATH | os.O_CLOEXEC)
    for _ in range(depth):
        name = str(bench.random.randrange(9))
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=here)
        os.close(here)
        here = below
    return here


def _modules_of_its_own(bench):
    """Return the modules that are loaded when Python has loaded the learner's file and nothing else.

    The grader has loaded many more, and in the jail an import of one of those would work by that alone.
    """
    code = "import sys; exec(compile(sys.stdin.read(), 'piece', 'exec'), {}); print('\\n', *sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    try:
        told = subprocess.check_output(
            command, env=environment, input=bench.piece.text, stderr=subprocess.DEVNULL, text=True, timeout=30
        ).splitlines()
    except subprocess.SubprocessError:
        told = []
    names = set(told[-1].split()) if told else set()
    return names if "sys" in names else set(sys.modules)


@contextmanager
def _only(names):
    """Let Python know no other modules than `names`."""
    all_of_them = dict(sys.modules)
    for name in all_of_them.keys() - names:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(all_of_them)


def _how_far(bench, pid, jail, holds):
    """Say where an escape has ended, and which step brings it further. `jail` is its directory's stat."""
    root, directory = _way_up(bench, pid, "root"), _way_up(bench, pid, "cwd")
    if (jail.st_dev, jail.st_ino) in root:
        if len(directory) == 1:
            return "it climbed to the real root, but its root directory is still in the jail", (
                "it stands outside, and that is half of it: make `.` the root at the end (chroot)"
            )
        if root[0] in directory:
            return f"it never got out of the jail: its root holds {holds}", (
                "whoever stands inside of the root is stopped there by `..`: chroot without chdir, so that "
                "you stand outside of it"
            )
    return f"it stopped {len(root) - 1} directories below the real root, in one that holds {holds}", (
        "stand outside of a root (chroot without chdir), climb by `..` until it goes no higher and is the "
        "same directory as `.` (the same inode on the same device: os.path.samefile), and make that the "
        "root: no number of steps is enough for every jail"
    )


def _way_up(bench, pid, link):
    """Return the identities (device, inode) of a process's `root` or `cwd` and of all above it."""
    here = os.open(f"{pid}/{link}", os.O_PATH | os.O_CLOEXEC, dir_fd=bench.eyes.descriptor)
    way = []
    while not way or _identity(here) != way[-1]:
        way.append(_identity(here))
        above = os.open("..", os.O_PATH | os.O_CLOEXEC, dir_fd=here)
        os.close(here)
        here = above
    os.close(here)
    return way


def _identity(descriptor):
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
