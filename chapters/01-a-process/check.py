"""Chapter 1's checks: the program is looked at from outside, in /proc, after execve."""

import fcntl
import os
import resource
import signal

from minidock.learn.bench import Bench
from minidock.learn.subject import open_descriptors
from minidock.learn.wrong import expect

CAT = "/bin/cat"  # it waits for its input, so that there is time to look at it
RESERVED = 300
USUAL_LIMIT = 1024  # descriptors that a process may open unless somebody raises it


def _waiting_pipes():
    """Return descriptors on which a program waits: its input never ends."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_inheritable(writing, False)
    return reading, writing


def _cat(bench: Bench, prepare=lambda: None, arguments=(CAT,), environment=None):
    """Return a body that becomes `cat` with a pipe as its input."""
    reading, _writing = _waiting_pipes()

    def body(piece):
        prepare()
        sink = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        piece.execute(list(arguments), {} if environment is None else environment, [reading, sink, sink])

    return body


def check_descriptors_arrive_in_their_order(bench: Bench) -> None:
    """The given descriptors are the process's 0, 1, 2 and so on, whatever their numbers were."""
    count, first = bench.random.randrange(4, 7), bench.random.randrange(1, 4)
    orders = (
        bench.random.choice([(1, 2, 0), (2, 0, 1), (1, 0, 2), (2, 1, 0)]),
        _turned(count, first),
        tuple(bench.random.sample(range(20, 40), count)),
    )
    for order in orders:
        names = {number: f"{bench.scratch}/{bench.token()}" for number in order}

        def body(piece, order=order, names=names):
            os.closerange(3, 20)
            files = [_high(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)) for name in names.values()]
            for number, file in zip(names, files, strict=True):
                os.dup2(file, number)
                os.close(file)
            piece.connect(list(order))

        places = ", ".join(map(str, range(len(order))))
        contract = f"connect({list(order)}) makes these, in this order, the descriptors {places}"
        with bench.start(body) as subject:
            bench.value(subject, "connect", contract)
            found = bench.eyes.descriptors(subject.pid)
        for number, given in enumerate(order):
            look = f"was {given} still itself when it was copied, or already overwritten?"
            if number > 2 and number not in found:
                look = (
                    f"as many places are filled as descriptors are given, here {count} and not always three: "
                    f"was {number} closed again as a mere copy? Copies lie above all places"
                )
            elif number > 2 and found[number] == names.get(number):
                look = "as many places are filled as descriptors are given: not always three"
            expect(
                found.get(number) == names[given],
                f"{contract}: {number} is what {given} was, {names[given]}",
                found.get(number, "nothing open there"),
                f"{look} {bench.where('connect')}",
            )


def _turned(count, first):
    """Return the numbers from 0 to `count`, turned so that they begin with `first`."""
    return (*range(first, count), *range(first))


def check_places_that_are_closed_are_filled(bench: Bench) -> None:
    """Whatever of 0, 1, 2 is closed when connect begins, the given descriptors are there afterwards."""
    names = [f"{bench.scratch}/{bench.token()}" for _ in range(3)]

    def body(piece):
        given = [_high(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)) for name in names]
        for number in range(3):
            os.close(number)
        piece.connect(given)

    contract = "connect fills 0, 1, 2 when all three are closed: a daemon may have none of them"
    with bench.start(body) as subject:
        bench.value(subject, "connect", contract)
        found = bench.eyes.descriptors(subject.pid)
    seen = ", ".join(f"{number} is {found.get(number, 'closed')}" for number in range(3))
    expect(
        [found.get(number) for number in range(3)] == names,
        f"{contract}; they are {', '.join(names)}",
        seen,
        "a copy takes the lowest free number, which may be 0, 1 or 2 itself: was it closed again as a mere "
        f"copy? {bench.where('connect')}",
    )


def _high(descriptor):
    """Move a descriptor out of the way of small numbers."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 50)
    os.close(descriptor)
    return moved


def check_connect_leaves_no_copies(bench: Bench) -> None:
    """After connect nothing more is open than before and nothing less, and only 0, 1, 2 outlive an exec."""
    reading, writing = _waiting_pipes()

    def body(piece):
        sink = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
        above = range(max(reading, writing) + 1, max(reading, writing) + 8)
        others = [number for number in above if number not in open_descriptors()]
        for number in others:
            os.dup2(sink, number, inheritable=False)
        before = open_descriptors()
        piece.connect([reading, writing, writing])
        after = open_descriptors()
        full = os.stat("/dev/full")
        lost = [n for n in others if n not in after or not os.path.samestat(os.fstat(n), full)]
        return [before, after, lost]

    with bench.start(body) as subject:
        before, after, lost = bench.value(subject, "connect", "connect returns")
    expect(
        not lost,
        "connect leaves every descriptor beside 0, 1, 2 as it is",
        f"descriptors {', '.join(map(str, lost))} were open before, and are closed or something else now",
        "os.dup2(2) onto a number closes what was open there: let the kernel choose one that is free "
        f"(fcntl, F_DUPFD_CLOEXEC); {bench.where('connect')}",
    )
    more = sorted(set(after) - set(before))
    expect(
        not more,
        "connect opens nothing that stays open",
        f"descriptors {', '.join(map(str, more))} are new",
        "a copy that was moved out of the way is not needed any more and must be closed; "
        f"{bench.where('connect')}",
    )


def check_the_program_has_its_descriptors(bench: Bench) -> None:
    """The program's own 0, 1, 2 are the given ones and outlive execve, also one that was there already."""
    reading, _writing = _waiting_pipes()
    inode = os.fstat(reading).st_ino

    def body(piece):
        sink = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(sink, 2, inheritable=False)
        piece.execute([CAT], {}, [reading, sink, 2])

    contract = "execute becomes the program, with the given descriptors as 0, 1, 2"
    with bench.start(body) as subject:
        pid = bench.program(subject, "execute", contract)
        bench.settle(pid, CAT, "connect", "execute")
        found = bench.eyes.descriptors(pid)
    wanted = {0: f"pipe:[{inode}]", 1: "/dev/full", 2: "/dev/full"}
    for number, target in wanted.items():
        look = "connect() before execve; dup2's copies must be inheritable"
        if number == 2:
            look = (
                "it was in its place already, and dup2 of a descriptor onto itself does nothing: it stays "
                "close-on-exec (os.set_inheritable). Or was it never connected?"
            )
        expect(
            found.get(number) == target,
            f"the program's descriptor {number} is {target}",
            found.get(number, "closed: it did not outlive execve"),
            f"{look}; {bench.where('connect')}, {bench.where('execute')}",
        )


def check_nothing_else_is_open(bench: Bench) -> None:
    """The program inherits no other descriptor, whatever its number."""
    number = bench.random.randrange(RESERVED, RESERVED + 400)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    high = bench.random.randrange(USUAL_LIMIT, USUAL_LIMIT + 1000)

    def leak():
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, USUAL_LIMIT + 1000), most))
        leaked = os.open("/etc", os.O_RDONLY)
        for each in (7, number, high):
            os.dup2(leaked, each, inheritable=True)

    with bench.start(_cat(bench, leak)) as subject:
        pid = bench.program(subject, "execute", "execute becomes the program")
        bench.settle(pid, CAT, "connect", "execute")
        found = bench.eyes.descriptors(pid)
    extra = {key: value for key, value in found.items() if key > 2}
    expect(
        not extra,
        "the program has 0, 1, 2 open and nothing else",
        ", ".join(f"{key} -> {value}" for key, value in extra.items()),
        f"everything from 3 up to the highest number must be close-on-exec: no number is too high to be "
        f"open (1024 is a usual limit, no more); {bench.where('execute')}",
    )


def check_signals_are_restored(bench: Bench) -> None:
    """The program starts with no signal ignored and none blocked."""
    some = bench.random.sample([signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT], 2)

    def spoil():
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(some[0], signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [some[1]])

    with bench.start(_cat(bench, spoil)) as subject:
        pid = bench.program(subject, "execute", "execute becomes the program")
        bench.settle(pid, CAT, "connect", "execute")
        status = bench.eyes.status(pid)
    for field, word in (("SigIgn", "ignored"), ("SigBlk", "blocked")):
        mask = int(status[field], 16)
        names = [signal.Signals(n).name for n in range(1, 32) if mask >> (n - 1) & 1]
        expect(
            mask == 0,
            f"{field} is 0 in the program's /proc/PID/status",
            f"{status[field]}: {', '.join(names)} {word}",
            "ignored and blocked signals survive execve: restore them just before it; "
            f"{bench.where('execute')}",
        )


def check_arguments_arrive_unchanged(bench: Bench) -> None:
    """Every argument arrives byte for byte: blanks, quotes, an empty one, bytes that are no text."""
    odd = [
        f"{bench.token()}  two blanks",
        "",
        'a "quoted" $HOME *',
        b"\xff\xfe raw".decode(errors="surrogateescape"),
    ]
    bench.random.shuffle(odd)
    given = [CAT, "-", *odd]

    with bench.start(_cat(bench, arguments=given)) as subject:
        pid = bench.program(subject, "execute", "execute becomes the program with these arguments")
        bench.settle(pid, CAT, "connect", "execute")
        found = bench.eyes.read(f"{pid}/cmdline").split(b"\0")[:-1]
    wanted = [os.fsencode(each) for each in given]
    expect(
        found == wanted,
        f"/proc/PID/cmdline shows {wanted}",
        str(found),
        f"a list of arguments is not a line of text: never join or split it; {bench.where('execute')}",
    )


def check_the_environment_is_the_given_one(bench: Bench) -> None:
    """The program gets the given environment and nothing of ours."""
    secret, name = bench.token(), f"GIVEN_{bench.token()}"

    def spoil():
        os.environ["SECRET_OF_THE_ENGINE"] = secret

    given = {name: "a=b c"}
    with bench.start(_cat(bench, spoil, environment=given)) as subject:
        pid = bench.program(subject, "execute", "execute becomes the program")
        bench.settle(pid, CAT, "connect", "execute")
        found = bench.eyes.read(f"{pid}/environ").decode().split("\0")[:-1]
    expect(
        found == [f"{name}=a=b c"],
        f"the environment is {name}='a=b c' and nothing else",
        _named(found, name),
        f"pass the environment that was given, not os.environ; {bench.where('execute')}",
    )


def _named(found, name):
    """Tell of an environment without a value of the reader's own: whether `name` is in it, and who else."""
    others = [each.partition("=")[0] for each in found if not each.startswith(f"{name}=")]
    ours = ", SECRET_OF_THE_ENGINE among them" if "SECRET_OF_THE_ENGINE" in others else ""
    given = f"{name} is {'there' if len(others) < len(found) else 'missing'}"
    return f"{given}, and {len(others)} more that were not given{ours}"


def check_the_program_is_found_in_its_own_path(bench: Bench) -> None:
    """A bare name is looked up in the PATH that the program will have, not in ours, or in the default one."""
    directory, name = bench.directory(), f"prog-{bench.token()}"
    os.symlink(CAT, f"{directory}/{name}")

    def ours():
        os.environ["PATH"] = "/usr/sbin:/usr/bin"

    def nowhere():
        os.environ["PATH"] = directory

    body = _cat(bench, ours, (name,), {"PATH": f"/nowhere:{directory}"})
    with bench.start(body) as subject:
        contract = f"execute finds {name} in {directory}, which is in the PATH of the environment given"
        pid = bench.program(subject, "execute", contract)
        bench.settle(pid, CAT, "connect", "execute")
        first = bench.eyes.read(f"{pid}/cmdline").split(b"\0")[0].decode()
    look = "where it was found is the first argument of execve, not the program's: busybox goes by its name"
    expect(first == name, f"the program's own name is {name}, as it was given", first, look)
    contract = f"execute finds {os.path.basename(CAT)} when the environment given has no PATH"
    look = "a program that gets no PATH is looked for in DEFAULT_PATH"
    with bench.start(_cat(bench, nowhere, (os.path.basename(CAT),), {"HOME": "/"})) as subject:
        pid = bench.program(subject, "execute", contract, look)
        bench.settle(pid, CAT, "connect", "execute")


def check_a_failure_comes_back_with_the_name(bench: Bench) -> None:
    """A program that cannot be executed is an OSError naming it, and the way out is still open."""
    directory, beside, script = bench.directory(), bench.directory(), f"script-{bench.token()}"
    os.symlink(CAT, f"{beside}/{script}-2")
    with open(f"{directory}/{script}", "w") as file:
        file.write("#!/nowhere/interpreter\n")
    os.chmod(f"{directory}/{script}", 0o755)
    cases = (
        (f"/nowhere/{bench.token()}", "that is not there", ""),
        (script, "that is there, but not its interpreter: execve(2) itself says ENOENT", ""),
        (
            f"{script}-2",
            "that is in the working directory and nowhere in PATH",
            "PATH alone says where to look",
        ),
    )
    for name, which, advice in cases:

        def body(piece, name=name):
            os.chdir(beside)
            piece.execute([name, "x"], {"PATH": directory}, [0, 1, 2])

        contract = f"execute raises OSError(ENOENT) with the name {name} for a program {which}"
        with bench.start(body) as subject:
            hint = advice or _why_silent(bench.outcome(subject), subject)
            facts = bench.raised(subject, "execute", contract, hint)
            if facts["errno"] is None:
                hint = (
                    "an error in words of one's own has no errno: let the kernel's out, or say it again as "
                    "OSError(error.errno, words, name)"
                )
            name_in_it = f" for {facts['filename']}" if facts["filename"] else ", without a name"
            said = f"errno {facts['errno']}: {facts['message']}{name_in_it}"
            expect(facts["errno"] == 2, contract, said, f"{hint}; {bench.where('execute')}")
            hint = "which program it was must stand in the error, also when execve(2) raised it"
            named = name in facts["filename"] + facts["message"]
            expect(named, contract, said, f"{hint}; {bench.where('execute')}")


def _why_silent(outcome, subject):
    """Say which way an error has gone when it was not raised."""
    if "became" not in outcome:
        return "an error must leave this function"
    if subject.end(0.5) == 0:  # it tried to tell and could not
        return "nothing may be closed before exec, the error's own way out too: mark it close-on-exec"
    return "an error must leave this function: os._exit() takes the reason with it"


def _status(code: int = 0, by_signal: int = 0) -> int:
    """Return the wait status of a real child that ended so."""
    pid = os.fork()
    if pid == 0:
        if by_signal:
            signal.signal(by_signal, signal.SIG_DFL) if by_signal not in (9, 19) else None
            os.kill(os.getpid(), by_signal)
            signal.pause()
        os._exit(code)
    return os.waitpid(pid, 0)[1]


def check_an_exit_code_comes_back(bench: Bench) -> None:
    """A program that exits with n gives n, for every n from 0 to 255."""
    codes = [0, 255, *(bench.random.randrange(1, 128) for _ in range(2)), bench.random.randrange(128, 255)]
    for code in codes:
        status = _status(code)
        contract = f"exit_code({status}) returns {code}: the child called exit({code})"
        got = bench.call("exit_code", status, contract=contract, returns=int)
        expect(
            got == code,
            contract,
            str(got),
            f"the exit code is in the status's second byte ({status:#06x}); {bench.where('exit_code')}",
        )


def check_a_signal_becomes_128_and_its_number(bench: Bench) -> None:
    """A program that signal n killed gives 128+n, with or without a core dump."""
    for number in (*bench.random.sample([1, 2, 9, 10, 12, 13, 14, 15], 3), 6):
        status = _status(by_signal=number) | (0x80 if number == 6 else 0)
        name = signal.Signals(number).name
        contract = f"exit_code({status}) returns {128 + number}: the child was killed by {name} ({number})"
        got = bench.call("exit_code", status, contract=contract, returns=int)
        expect(
            got == 128 + number,
            contract,
            str(got),
            f"the signal is in the low seven bits of the status ({status:#06x}), bit 7 says core dump; "
            f"{bench.where('exit_code')}",
        )
