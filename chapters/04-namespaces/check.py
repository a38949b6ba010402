"""Chapter 4's checks: namespaces are compared by their inodes in /proc/PID/ns, from outside."""

import os
import signal
import sys

from minidock.kernel import namespaces, process
from minidock.learn import orphans, pid1
from minidock.learn.bench import Bench
from minidock.learn.wrong import Wrong, expect

KINDS = ("uts", "ipc", "pid", "mount", "network", "cgroup")
FILES = {"uts": "uts", "ipc": "ipc", "pid": "pid", "mount": "mnt", "network": "net", "cgroup": "cgroup"}
CROWD = 6
LAST = 40  # a real-time signal: Python calls the handlers of what has arrived in the order of their numbers
UNFIT = ("NotImplemented" + "Error", "NotYours", "NameError", "UnboundLocalError", "SyntaxError")


def _end(pid):
    """Kill a child that a subject started; whatever else was returned is no pid."""
    if isinstance(pid, int) and pid > 1:
        os.kill(pid, signal.SIGKILL)


def _namespaces(bench, pid):
    return {kind: bench.eyes.namespace(pid, file) for kind, file in FILES.items()}


def _cloning(kinds):
    return lambda piece: piece.clone_child(kinds, orphans.pause)


def check_the_child_is_in_new_namespaces(bench: Bench) -> None:
    """The child has new namespaces of exactly the kinds that were asked for."""
    kinds = ["pid", *bench.random.sample([kind for kind in KINDS if kind != "pid"], 2)]
    bench.random.shuffle(kinds)
    ours, mark = _namespaces(bench, 1), f"{bench.scratch}/{bench.token()}"

    def child():
        os.mkdir(mark)
        orphans.pause()

    contract = f"clone_child({kinds}) returns the pid of a child whose {', '.join(kinds)} namespaces are new"
    with bench.start(lambda piece: piece.clone_child(kinds, child)) as subject:
        pid = bench.value(subject, "clone_child", contract)
        if not isinstance(pid, int) or pid <= 0:
            raise Wrong(contract, f"it returned {pid!r}", bench.where("clone_child"))
        ran = bench.wait_until(lambda: os.path.exists(mark))
        theirs, parent = _namespaces(bench, pid), int(bench.eyes.status(pid)["PPid"])
        _end(pid)
    expect(ran, "the child runs the function it was given", "it never did", bench.where("clone_child"))
    expect(
        parent == subject.pid,
        f"the process is a child of the caller, process {subject.pid}",
        f"its parent is process {parent}",
        "whoever starts a container waits for its end, and wait(2) gives a process its own children only; "
        f"{bench.where('clone_child')}",
    )
    new = sorted(kind for kind in KINDS if theirs[kind] != ours[kind])
    expect(
        new == sorted(kinds),
        contract,
        f"new are {new or 'none'}: "
        + ", ".join(f"{kind} {theirs[kind]} (ours {ours[kind]})" for kind in kinds),
        f"{_why_old(sorted(set(kinds) - set(new)))}; {bench.where('clone_child')}",
    )


def _why_old(missing):
    if missing == ["pid"]:
        return (
            "a process never changes its pid namespace: unshare(2) moves only the children that it gets "
            "later, so the child must be born in the new one (the flag goes to clone)"
        )
    return "the flags of all kinds must be combined with | in one clone"


def check_the_caller_stays_where_it_is(bench: Bench) -> None:
    """The caller's own namespaces, and those of its next children, are the same as before."""
    kinds = bench.random.sample(("uts", "ipc", "network", "mount"), 2)
    contract = "clone_child leaves its caller in its namespaces"
    with bench.start(_cloning([*kinds, "pid"])) as subject:
        pid = bench.value(subject, "clone_child", contract)
        found = _namespaces(bench, subject.pid)
        children = bench.eyes.namespace(subject.pid, "pid_for_children")
        _end(pid)
    ours = _namespaces(bench, 1)
    moved = [kind for kind in KINDS if found[kind] != ours[kind]]
    if children != ours["pid"]:
        moved.append("pid (of its next children)")
    expect(
        not moved,
        contract,
        f"it has moved to new namespaces: {', '.join(moved)}",
        "unshare(2) moves the caller, who has other containers to start; clone(2) does not; "
        f"{bench.where('clone_child')}",
    )


def check_the_child_never_comes_back(bench: Bench) -> None:
    """A child whose function returns or raises ends there: it never goes on in its caller's code."""

    def fails():
        raise ArithmeticError("the child's own failure")

    for child, does in ((lambda: None, "returns"), (fails, "raises"), (sys.exit, "calls sys.exit()")):
        mark = bench.directory()

        def body(piece, child=child, mark=mark):
            try:
                return piece.clone_child(["uts"], child)
            finally:
                os.mkdir(f"{mark}/{os.getpid()}")

        contract = f"when the function {does}, its process ends inside of clone_child"
        look = (
            "the child is a copy of the caller, and after `child()` it would do the caller's work a second "
            f"time: os._exit() must end it{_LATER.get(does, '')}"
        )
        with bench.start(body) as subject:
            if bench.outcome(subject).get("raised") in UNFIT:
                bench.value(subject, "clone_child", contract)
            pid = bench.outcome(subject).get("value", 0)
            bench.wait_until(lambda m=mark, p=pid: len(os.listdir(m)) > 1 or _has_ended(bench, p))
            back = len(os.listdir(mark))
            seen = f"{back} processes came back from clone_child, the child is one of them"
            expect(back < 2, contract, seen, f"{look}; {bench.where('clone_child')}")
            bench.value(subject, "clone_child", contract)


_LATER = {
    "raises": ", also after an exception (finally)",
    "calls sys.exit()": ", also after a SystemExit, which is a BaseException and no Exception (finally)",
}


def _has_ended(bench, pid):
    if not isinstance(pid, int) or pid < 1:
        return False
    try:
        return bench.eyes.status(pid)["State"][0] == "Z"
    except OSError:
        return True


def check_an_unknown_kind_is_refused(bench: Bench) -> None:
    """A kind of namespace that does not exist is an error, and no child is started."""
    kind = f"kind-{bench.token()}"
    contract = f"clone_child(['uts', '{kind}']) raises an error"
    with bench.start(_cloning(["uts", kind])) as subject:
        outcome = bench.outcome(subject)
        _end(outcome.get("value"))
        look = "a misspelt namespace that is left out is a container that shares it with the host"
        if outcome.get("raised") in UNFIT or "raised" not in outcome:
            got = bench.value(subject, "clone_child", contract, look)
            raise Wrong(contract, f"it returned {got!r}", f"{look}; {bench.where('clone_child')}")


def _joining(bench, kinds, flags):
    """Return a body that joins the namespaces of a child made for it."""

    def body(piece):
        other = process.clone(flags)
        if other == 0:
            orphans.pause()
        joined = {
            kind: os.open(f"/proc/{other}/ns/{FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds
        }
        try:
            piece.join_namespaces(joined)
        except BaseException:
            os.kill(other, signal.SIGKILL)
            raise
        return [other, list(joined.values())]

    return body


def check_the_namespaces_are_joined(bench: Bench) -> None:
    """After join_namespaces the process is in every namespace that it was given."""
    kinds = bench.random.sample(("uts", "ipc", "network"), 3)
    flags = namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWNET
    contract = f"join_namespaces joins {', '.join(kinds)}"
    with bench.start(_joining(bench, kinds, flags)) as subject:
        other, given = bench.value(subject, "join_namespaces", contract)
        mine, theirs = _namespaces(bench, subject.pid), _namespaces(bench, other)
        closed = set(given) - set(bench.eyes.descriptors(subject.pid))
        os.kill(other, signal.SIGKILL)
    missing = [kind for kind in kinds if mine[kind] != theirs[kind]]
    expect(
        not missing,
        contract,
        f"not joined: {', '.join(missing)}",
        f"setns(2) for every descriptor that was given; {bench.where('join_namespaces')}",
    )
    look = f"who opened a descriptor closes it; {bench.where('join_namespaces')}"
    expect(not closed, "the descriptors stay the caller's", f"{sorted(closed)} are closed", look)


def check_what_cannot_be_joined_is_an_error(bench: Bench) -> None:
    """A descriptor of another kind, or of no namespace at all, raises OSError."""
    look = (
        "an error of setns that is ignored leaves the program in the host's namespace; its second argument "
        "says which kind it must be"
    )
    for path, what in (("/proc/self/ns/ipc", "an ipc namespace"), ("/dev/null", "no namespace")):

        def body(piece, path=path):
            piece.join_namespaces({"uts": os.open(path, os.O_RDONLY | os.O_CLOEXEC)})

        contract = f"join_namespaces({{'uts': descriptor of {what}}}) raises OSError"
        with bench.start(body) as subject:
            bench.raised(subject, "join_namespaces", contract, look)


def _serving(program, before=lambda: None):
    """Return a body in which the subject is pid 1 of a pid namespace and serves a child running `program`."""

    def body(piece):
        signal.pthread_sigmask(signal.SIG_BLOCK, orphans.CATCHABLE)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Python's own handler looks like the learner's
        child = os.fork()
        if child == 0:
            try:
                program()
            finally:
                os._exit(0)
        before()
        return piece.serve(child, orphans.CATCHABLE)

    return body


NEW_PID = namespaces.CLONE_NEWPID


def check_the_childs_end_is_the_end(bench: Bench) -> None:
    """serve returns the child's exit code, or 128+n when signal n killed it."""
    code, number = bench.random.randrange(1, 256), bench.random.choice([1, 2, 9, 13, 15])

    def killed():
        signal.signal(number, signal.SIG_DFL) if number != 9 else None
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.kill(os.getpid(), number)
        orphans.pause()

    for program, wanted in ((lambda: os._exit(code), code), (killed, 128 + number), (lambda: None, 0)):
        contract = f"serve returns {wanted}"
        with bench.start(_serving(program), NEW_PID) as subject:
            got = bench.value(subject, "serve", contract, returns=int)
        look = "a wait status is not an exit code"
        if wanted == 0:
            look = "the child called exit(0): 0 is an exit code like any other, and no sign of a signal"
        if program is killed and got in (0, number):
            look = f"signal {number} killed the child: a program that has no exit code of its own gives 128+n"
        expect(got == wanted, contract, repr(got), f"{look}; {bench.where('serve')}")


def check_an_orphan_does_not_hold_the_end(bench: Bench) -> None:
    """serve returns when its child has ended, also while an orphan lives."""
    code = bench.random.randrange(1, 256)
    end, hold = os.pipe2(os.O_CLOEXEC)

    def program():
        if os.fork() == 0:
            if os.fork() == 0:
                os.read(end, 1)
            os._exit(3)
        os.wait()
        os._exit(code)

    def body(piece):
        os.close(hold)
        return _serving(program)(piece)

    contract = f"serve returns {code} when its child has ended, also while an orphan lives"
    look = (
        "the orphan may live for years: never wait for one that has not ended (os.WNOHANG), and return as "
        "soon as it was the child"
    )
    with bench.start(body, NEW_PID) as subject:
        got = bench.value(subject, "serve", contract, look)
    expect(got == code, contract, repr(got), f"{look}; {bench.where('serve')}")


def _still_serves(bench, subject, contract):
    """Wrong unless the subject is still inside serve."""
    if "stuck" not in subject.wait(0.05):
        got = bench.value(subject, "serve", contract)
        raise Wrong(contract, f"it returned {got!r} while its child lives", bench.where("serve"))


def _await(bench, subject, holds):
    """Wait until `holds`, no longer than the subject is inside serve; return whether it did."""
    bench.wait_until(lambda: holds() or "stuck" not in subject.wait(0))
    return holds()


def check_orphans_are_reaped(bench: Bench) -> None:
    """Processes that lost their parent and ended leave no zombie, however many end at once."""
    (go, together), (late, later), (begin, hold) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))

    def body(piece):
        for writing in (together, later, hold):
            os.close(writing)
        serving = _serving(orphans.breeding([go] * CROWD + [late]), lambda: os.read(begin, 1))
        return serving(piece)

    contract = "serve reaps every process that ends, and goes on until its own child has ended"
    with bench.start(body, NEW_PID) as subject:
        bench.wait_until(lambda: len(orphans.children(bench, subject.pid)) == CROWD + 2)
        os.close(together)  # all end before serve begins: one SIGCHLD for all
        bench.wait_until(lambda: len(orphans.zombies(bench, subject.pid)) == CROWD)
        os.close(hold)
        reaped = _await(bench, subject, lambda: not orphans.zombies(bench, subject.pid))
        left = orphans.zombies(bench, subject.pid)
        _still_serves(bench, subject, contract)
        look = "one SIGCHLD may speak of many: reap until waitpid(-1) finds nobody that has ended"
        seen = f"{len(left)} of {CROWD} that ended together are zombies still"
        expect(reaped, contract, seen, f"{look}; {bench.where('serve')}")
        os.close(later)
        reaped = _await(bench, subject, lambda: len(orphans.children(bench, subject.pid)) == 1)
        _still_serves(bench, subject, contract)
        expect(reaped, contract, "one that ended later is a zombie still", f"{look}; {bench.where('serve')}")


def check_signals_are_passed_on(bench: Bench) -> None:
    """Whatever signal pid 1 gets, the child gets, and nobody else; in the meantime pid 1 sleeps."""
    path, others = (f"{bench.scratch}/{bench.token()}" for _ in range(2))
    numbers = [*bench.random.sample([1, 2, 3, 10, 12, 14, 23, 28], 3), 15]
    contract = "serve passes on every signal but SIGCHLD"
    with bench.start(_serving(orphans.listening(path, others)), NEW_PID) as subject:
        _await(bench, subject, lambda: "ready" in orphans.heard(path) and "ready" in orphans.heard(others))
        _still_serves(bench, subject, contract)
        for number in numbers:
            os.kill(subject.pid, number)
            name = signal.Signals(number).name
            arrived = bench.wait_until(lambda n=number: str(n) in orphans.heard(path))
            look = f"{pid1.why_unheard(bench, subject.pid, number)}; {bench.where('serve')}"
            expect(arrived, f"{contract}: {name}", f"the child did not get {name}", look)
        for pid, _ in orphans.children(bench, subject.pid):
            os.kill(pid, LAST)
        bench.wait_until(lambda: str(LAST) in orphans.heard(others))
        wrong = [signal.Signals(number).name for number in numbers if str(number) in orphans.heard(others)]
        look = f"os.kill(-1, ...) reaches everybody in the container, not the child; {bench.where('serve')}"
        expect(not wrong, "serve signals its child alone", f"an orphan got {', '.join(wrong)} too", look)
        pid1.expect_sleep(bench, subject.pid)


def check_signals_are_passed_on_after_an_orphan(bench: Bench) -> None:
    """When an orphan has ended and been reaped, signals still arrive."""
    path = f"{bench.scratch}/{bench.token()}"
    contract = "serve passes on SIGTERM, also after an orphan has ended"
    with bench.start(_serving(orphans.bereaved(path)), NEW_PID) as subject:
        _await(bench, subject, lambda: "ready" in orphans.heard(path))
        _await(bench, subject, lambda: len(orphans.children(bench, subject.pid)) == 1)
        _still_serves(bench, subject, contract)
        os.kill(subject.pid, signal.SIGTERM)
        arrived = bench.wait_until(lambda: "15" in orphans.heard(path))
        look = f"{pid1.why_unheard(bench, subject.pid, signal.SIGTERM)}; {bench.where('serve')}"
    expect(arrived, contract, "the child did not get SIGTERM", look)


def check_sigchld_is_kept(bench: Bench) -> None:
    """SIGCHLD speaks to pid 1 alone and is not passed on."""
    path = f"{bench.scratch}/{bench.token()}"
    contract = "the child does not get the SIGCHLD of somebody else's end"
    with bench.start(_serving(orphans.bereaved(path)), NEW_PID) as subject:
        _await(bench, subject, lambda: "ready" in orphans.heard(path))
        _still_serves(bench, subject, contract)
        bench.wait_until(lambda: len(orphans.children(bench, subject.pid)) == 1)
        os.kill(subject.pid, signal.SIGUSR2)
        bench.wait_until(lambda: "12" in orphans.heard(path))
        heard = orphans.heard(path)
        _still_serves(bench, subject, contract)
    expect(
        "17" not in heard,
        contract,
        "the child got SIGCHLD",
        f"it is pid 1's own news; {bench.where('serve')}",
    )
