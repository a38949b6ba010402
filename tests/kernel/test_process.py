"""minidock.kernel.process: children in new namespaces, pidfds, signals and seals, seen in /proc."""

import errno
import fcntl
import gc
import importlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from minidock.kernel import libc, namespaces, process

F_SEAL_FUTURE_WRITE = 0x10
ALL_BUT_TIME = {name: kind.flag for name, kind in namespaces.NAMES.items() if name != "time"}


def status_field(name: str, pid: int | str = "self") -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split(":")[1].strip()
    raise KeyError(name)


@pytest.fixture
def sleeper():
    """Return the pid of a child that waits; it is ended and reaped afterwards unless the test did."""
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_clone_without_flags_is_a_fork(in_child) -> None:
    def body() -> tuple[int, int]:
        pid = process.clone(0)
        if pid == 0:
            os._exit(7)
        reaped, status = os.waitpid(pid, 0)
        assert reaped == pid
        return os.waitstatus_to_exitcode(status), os.getppid()

    assert in_child(body) == (7, os.getpid())


def test_the_child_of_clone_runs_python_normally_and_forks_again(in_child) -> None:
    def body() -> dict[str, object]:
        gc.collect()
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(threading.get_native_id())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        grandchild = os.fork()
        if grandchild == 0:
            code = json.loads("5")
            os._exit(code)
        again = process.clone(namespaces.CLONE_NEWUTS)
        if again == 0:
            os._exit(6)
        codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (grandchild, again)}
        import colorsys  # noqa: F401 - the import lock must be free again

        return {"codes": codes, "main": threading.current_thread() is threading.main_thread()}

    assert in_child(body, namespaces.CLONE_NEWPID) == {"codes": {5, 6}, "main": True}


def test_the_hooks_of_fork_run_around_clone(in_child) -> None:
    def body() -> tuple[list[str], list[str]]:
        seen: list[str] = []
        os.register_at_fork(
            before=lambda: seen.append("before"),
            after_in_child=lambda: seen.append("child"),
            after_in_parent=lambda: seen.append("parent"),
        )
        reading, writing = os.pipe()
        pid = process.clone(0)
        if pid == 0:
            os.write(writing, json.dumps(seen).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return seen, json.loads(os.read(reading, 1000))

    assert in_child(body) == (["before", "parent"], ["before", "child"])


def test_clone_newpid_makes_the_child_pid_1(in_child) -> None:
    assert in_child(os.getpid, namespaces.CLONE_NEWPID) == 1
    assert in_child(os.getpid) != 1
    assert in_child(os.getppid, namespaces.CLONE_NEWPID) == 0


@pytest.mark.parametrize("name", sorted(ALL_BUT_TIME))
def test_clone_gives_the_child_a_new_namespace_of_that_kind(in_child, name: str) -> None:
    ours = {other: namespaces.inode("self", other) for other in ALL_BUT_TIME}
    theirs = in_child(
        lambda: {other: namespaces.inode("self", other) for other in ALL_BUT_TIME}, ALL_BUT_TIME[name]
    )
    assert {other for other in ALL_BUT_TIME if theirs[other] != ours[other]} == {name}
    assert ours == {other: namespaces.inode("self", other) for other in ALL_BUT_TIME}


def test_clone_gives_the_child_all_namespaces_at_once(in_child) -> None:
    flags = 0
    for flag in ALL_BUT_TIME.values():
        flags |= flag
    theirs = in_child(lambda: {name: namespaces.inode("self", name) for name in ALL_BUT_TIME}, flags)
    assert not [name for name in ALL_BUT_TIME if theirs[name] == namespaces.inode("self", name)]


def test_a_time_namespace_comes_through_unshare_and_shifts_the_clock_of_the_child(in_child) -> None:
    def body() -> tuple[bool, bool, float]:
        before = namespaces.inode("self", "time")
        namespaces.unshare(namespaces.CLONE_NEWTIME)
        Path("/proc/self/timens_offsets").write_text("monotonic 100000 0\n")
        reading, writing = os.pipe()
        ours = time.clock_gettime(time.CLOCK_MONOTONIC)
        pid = process.clone(namespaces.CLONE_NEWPID)
        if pid == 0:
            answer = [time.clock_gettime(time.CLOCK_MONOTONIC), namespaces.inode("self", "time")]
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        theirs, inode = json.loads(os.read(reading, 1000))
        return inode != before, namespaces.inode("self", "time") == before, theirs - ours

    new, own_kept, shift = in_child(body)
    assert new
    assert own_kept
    assert 100000 <= shift < 200000


def test_clone_refuses_the_flag_of_time_namespaces_which_is_a_signal_number_there() -> None:
    with pytest.raises(OSError, match="unshare") as caught:
        process.clone(namespaces.CLONE_NEWTIME)
    assert caught.value.errno == errno.EINVAL


def test_a_failed_clone_raises_and_leaves_python_working(in_child) -> None:
    def body() -> str:
        with pytest.raises(OSError, match="clone") as caught:
            process.clone(namespaces.CLONE_NEWNS | namespaces.CLONE_FS)
        assert caught.value.errno == errno.EINVAL
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return "alive"

    assert in_child(body) == "alive"


def test_a_signal_handler_that_raises_during_clone_leaves_no_lock_taken(in_child) -> None:
    class Tick(Exception):
        pass

    def tick(*_: object) -> None:
        raise Tick

    def body() -> tuple[int, bool]:
        ticks = 0
        signal.signal(signal.SIGALRM, tick)
        for turn in range(400):
            pid = -1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00001 + turn * 0.000002)
                pid = process.clone(0)
            except Tick:
                ticks += 1
            finally:
                if pid == 0:
                    os._exit(0)
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                try:
                    time.sleep(0.001)
                except Tick:
                    ticks += 1
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        thread = threading.Thread(target=importlib.import_module, args=["this"], daemon=True)
        thread.start()
        thread.join(30)  # for ever, if this thread still had the import lock
        return ticks, thread.is_alive()

    ticks, stuck = in_child(body)
    assert ticks
    assert not stuck


def test_the_signal_mask_is_the_same_after_clone_in_parent_and_child(in_child) -> None:
    def body() -> list[str]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        reading, writing = os.pipe()
        pid = process.clone(0)
        if pid == 0:
            os.write(writing, status_field("SigBlk").encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return [os.read(reading, 100).decode(), status_field("SigBlk")]

    assert in_child(body) == [f"{1 << (signal.SIGUSR1 - 1):016x}"] * 2


def test_glibc_of_the_child_knows_the_childs_own_thread_id(in_child) -> None:
    def cached_tid() -> int:
        # pthread_getcpuclockid(3) makes the clock's number from the id that glibc caches: ~tid << 3 | 6.
        return ~time.pthread_getcpuclockid(threading.get_ident()) >> 3

    def body() -> list[tuple[int, int]]:
        found = [(cached_tid(), libc.syscall("gettid"))]
        reading, writing = os.pipe()
        pid = process.clone(namespaces.CLONE_NEWPID)
        if pid == 0:
            os.write(writing, json.dumps([cached_tid(), libc.syscall("gettid")]).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return [*found, tuple(json.loads(os.read(reading, 100)))]

    first, second = in_child(body, namespaces.CLONE_NEWPID)
    assert first == (1, 1)
    assert second == (1, 1)


@pytest.mark.soak(1000)
def test_many_clones_leave_no_descriptor_and_no_zombie(in_child, rounds: int) -> None:
    def body() -> bool:
        before = os.listdir("/proc/self/fd")
        for _ in range(rounds):
            pid = process.clone(0)
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return os.listdir("/proc/self/fd") == before

    assert in_child(body)


def test_a_pidfd_tells_the_end_before_and_after_the_process_is_reaped(sleeper: int) -> None:
    pidfd = process.pidfd_open(sleeper)
    try:
        assert fcntl.fcntl(pidfd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert not process.has_exited(pidfd)
        process.pidfd_send_signal(pidfd, 0)
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        assert process.has_exited(pidfd)  # a zombie
        os.waitpid(sleeper, 0)
        assert process.has_exited(pidfd)
        with pytest.raises(ProcessLookupError, match="signal 15"):
            process.pidfd_send_signal(pidfd, signal.SIGTERM)
        with pytest.raises(ProcessLookupError, match=f"process {sleeper}"):
            process.pidfd_open(sleeper)
    finally:
        os.close(pidfd)


def test_close_range_closes_what_it_is_told_and_nothing_else(in_child) -> None:
    def body() -> list[bool]:
        keep = os.open("/dev/null", os.O_RDONLY)
        first = fcntl.fcntl(keep, fcntl.F_DUPFD, 500)
        second = fcntl.fcntl(keep, fcntl.F_DUPFD, 510)
        third = fcntl.fcntl(keep, fcntl.F_DUPFD, 520)
        process.close_range(first, 515)
        answers = [os.path.exists(f"/proc/self/fd/{fd}") for fd in (keep, first, second, third)]
        process.close_range(520)
        return [*answers, os.path.exists(f"/proc/self/fd/{third}")]

    assert in_child(body) == [True, False, False, True, False]


def test_close_range_with_cloexec_closes_at_the_next_exec_only(in_child) -> None:
    def body() -> bool:
        descriptor = fcntl.fcntl(0, fcntl.F_DUPFD, 500)
        os.set_inheritable(descriptor, True)
        process.close_range(500, flags=process.CLOSE_RANGE_CLOEXEC)
        return not os.get_inheritable(descriptor)

    assert in_child(body)


def test_close_range_refuses_a_range_that_runs_backwards() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        process.close_range(10, 5)


def test_the_start_time_is_that_of_the_process_whatever_its_name(in_child) -> None:
    def body() -> tuple[int, int]:
        before = process.start_time(os.getpid())
        Path("/proc/self/comm").write_text("a) R 1 (b) c")
        return before, process.start_time(os.getpid())

    before, renamed = in_child(body)
    assert before == renamed
    uptime_ticks = float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK")
    assert process.start_time(os.getpid()) <= renamed <= uptime_ticks + 1


def test_the_start_time_of_nobody_is_a_process_lookup_error(sleeper: int) -> None:
    assert process.start_time(sleeper) > 0
    os.kill(sleeper, signal.SIGKILL)
    os.waitpid(sleeper, 0)
    with pytest.raises(ProcessLookupError, match=f"/proc/{sleeper}/stat"):
        process.start_time(sleeper)


def test_the_boot_id_is_a_uuid_and_stays() -> None:
    assert process.boot_id() == process.boot_id()
    assert [len(part) for part in process.boot_id().split("-")] == [8, 4, 4, 4, 12]


@pytest.mark.parametrize("subreaper", [True, False])
def test_a_subreaper_inherits_its_orphans(in_child, subreaper: bool) -> None:
    def body() -> bool:
        if subreaper:
            process.set_subreaper()
        reading, writing = os.pipe()
        gone_reading, gone_writing = os.pipe()
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                os.close(gone_writing)
                os.read(gone_reading, 1)  # EOF once the middle is dead and we have closed ours
                os.write(writing, b"%d" % os.getppid())
            os._exit(0)
        os.waitpid(middle, 0)
        os.close(gone_writing)
        return int(os.read(reading, 20)) == os.getpid()

    assert in_child(body) is subreaper


def test_an_undumpable_process_hides_its_memory_and_its_executable(in_child) -> None:
    def body() -> list[int]:
        owners = []
        for dumpable in (True, False, True):
            process.set_dumpable(dumpable)
            owners.append(os.stat("/proc/self/environ").st_uid)  # root's when not dumpable
        return owners

    def as_user() -> list[int]:
        os.setgid(12345)
        os.setuid(12345)
        return body()

    assert in_child(as_user) == [12345, 0, 12345]


def test_no_new_privileges_shows_in_the_status(in_child) -> None:
    def body() -> tuple[str, str]:
        before = status_field("NoNewPrivs")
        process.set_no_new_privileges()
        return before, status_field("NoNewPrivs")

    assert in_child(body) == ("0", "1")


def test_the_parent_death_signal_ends_the_child_of_a_dead_parent(in_child) -> None:
    def body() -> int:
        process.set_subreaper()
        reading, writing = os.pipe()
        middle = os.fork()
        if middle == 0:
            child = os.fork()
            if child == 0:
                process.set_parent_death_signal(signal.SIGUSR1)
                os.write(writing, b"%d" % os.getpid())
                while True:
                    signal.pause()
            os.read(reading, 0)
            signal.pause()
        child = int(os.read(reading, 20))
        os.kill(middle, signal.SIGKILL)
        os.waitpid(middle, 0)
        return process.exit_code(os.waitpid(child, 0)[1])

    assert in_child(body) == 128 + signal.SIGUSR1


def test_reset_signals_leaves_nothing_ignored_and_nothing_blocked(in_child) -> None:
    def body() -> list[tuple[str, str, str]]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGRTMIN, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        ignore = (1).to_bytes(8, "little") + bytes(24)
        libc.syscall("rt_sigaction", 33, ignore, None, 8)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
        fields = ("SigIgn", "SigBlk", "SigCgt")
        before = tuple(status_field(name) for name in fields)
        process.reset_signals()
        return [before, tuple(status_field(name) for name in fields)]

    before, after = in_child(body)
    assert "0" * 16 not in before
    assert int(before[0], 16) >> 32 & 1  # signal 33, which glibc does not let anybody restore
    assert after == ("0" * 16,) * 3


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_the_exit_code_of_a_program_that_exits_is_its_own(code: int) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    assert process.exit_code(os.waitpid(pid, 0)[1]) == code


@pytest.mark.parametrize(
    "sig", [signal.SIGHUP, signal.SIGKILL, signal.SIGUSR2, signal.SIGTERM, signal.SIGRTMAX]
)
def test_the_exit_code_after_a_signal_is_128_and_its_number(sig: int, sleeper: int) -> None:
    os.kill(sleeper, sig)
    assert process.exit_code(os.waitpid(sleeper, 0)[1]) == 128 + sig


def test_a_stopped_process_has_no_exit_code(sleeper: int) -> None:
    os.kill(sleeper, signal.SIGSTOP)
    _, status = os.waitpid(sleeper, os.WUNTRACED)
    with pytest.raises(ValueError, match="stopped"):
        process.exit_code(status)


def test_a_sealed_memfd_can_be_read_and_never_changed() -> None:
    data = os.urandom(300_000)
    descriptor = process.sealed_memfd("spec", data)
    try:
        assert os.read(descriptor, 2**20) == data  # the offset is at the beginning
        assert process.seals(descriptor) == 0xF
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        for change in (
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: os.ftruncate(descriptor, 0),
            lambda: os.ftruncate(descriptor, len(data) + 1),
            lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE),
        ):
            with pytest.raises(PermissionError):
                change()
        assert os.readlink(f"/proc/self/fd/{descriptor}") == "/memfd:spec (deleted)"
    finally:
        os.close(descriptor)


def test_a_sealed_memfd_may_be_empty_and_may_be_executed() -> None:
    empty = process.sealed_memfd("empty", b"")
    assert os.read(empty, 1) == b""
    os.close(empty)
    program = process.sealed_memfd("true", Path("/bin/true").read_bytes())
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(program, ["true"], {})
        finally:
            os._exit(99)
    os.close(program)
    assert process.exit_code(os.waitpid(pid, 0)[1]) == 0


def test_an_ordinary_file_has_no_seals(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(OSError, match="Invalid argument"):
        process.seals(file.fileno())
