"""minidock.kernel.terminal: real terminals, of the host's devpts and of one that is mounted nowhere."""

import errno
import fcntl
import os
import select
import signal
import stat
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.kernel import mounts, process, terminal

NEW_DEVPTS = [("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620")]


@contextmanager
def pty(ptmx_path: str = "/dev/ptmx") -> Iterator[tuple[int, int]]:
    master = terminal.open_pty(ptmx_path)
    slave = terminal.peer(master)
    try:
        yield master, slave
    finally:
        os.close(slave)
        os.close(master)


@pytest.fixture(params=["the host's", "a detached"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Yield (master, peer) of a terminal: of the host's devpts, and of one that is mounted nowhere."""
    if request.param == "the host's":
        with pty() as both:
            yield both
        return
    instance = mounts.detached("devpts", NEW_DEVPTS)
    try:
        with pty(f"/proc/self/fd/{instance}/ptmx") as both:
            yield both
    finally:
        os.close(instance)


def test_what_is_written_to_one_side_is_read_from_the_other(pair: tuple[int, int]) -> None:
    master, slave = pair
    os.write(slave, b"from the program\n")
    assert os.read(master, 100) == b"from the program\r\n"
    os.write(master, b"from the user\n")
    assert os.read(slave, 100) == b"from the user\n"
    assert os.read(master, 100) == b"from the user\r\n"  # the echo


def test_both_sides_are_terminals_and_close_on_exec(pair: tuple[int, int]) -> None:
    for descriptor in pair:
        assert os.isatty(descriptor)
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_the_number_is_the_name_of_the_peer() -> None:
    with pty() as (master, slave):
        assert stat.S_ISCHR(os.fstat(slave).st_mode)
        assert os.fstat(slave).st_rdev == os.makedev(136, terminal.number(master))
        assert os.ttyname(slave) == f"/dev/pts/{terminal.number(master)}"


def test_a_fresh_devpts_instance_counts_from_zero_and_is_not_the_hosts(
    in_mount_sandbox, tmp_path: Path
) -> None:
    def body() -> None:
        mounts.mount(
            "devpts", tmp_path, "devpts", mounts.MS_NOSUID | mounts.MS_NOEXEC, "newinstance,ptmxmode=0666"
        )
        with (
            pty() as (host_master, _),
            pty(str(tmp_path / "ptmx")) as (first, peer),
            pty(str(tmp_path / "ptmx")) as (
                second,
                _,
            ),
        ):
            assert [terminal.number(master) for master in (first, second)] == [0, 1]
            assert sorted(os.listdir(tmp_path)) == ["0", "1", "ptmx"]
            assert os.fstat(peer).st_dev == os.stat(tmp_path).st_dev
            host_name = f"/dev/pts/{terminal.number(host_master)}"
            assert os.stat(host_name).st_dev != os.stat(tmp_path).st_dev
        assert os.listdir(tmp_path) == ["ptmx"]

    in_mount_sandbox(body)


def test_the_peer_is_found_though_another_file_has_its_name(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        mounts.mount("devpts", tmp_path, "devpts", 0, "newinstance,ptmxmode=0666")
        with pty(str(tmp_path / "ptmx")) as (master, _):
            trap = tmp_path.parent / "trap"
            trap.touch()
            mounts.mount(trap, tmp_path / "0", None, mounts.MS_BIND)
            peer = terminal.peer(master)
            assert os.isatty(peer)
            with open(tmp_path / "0") as by_name:  # the twin: by its name it is the trap
                assert not by_name.isatty()

    in_mount_sandbox(body)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/tty0-missing", "/proc/self/status"])
def test_what_is_no_ptmx_gives_no_terminal_and_leaks_nothing(path: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=path):
        terminal.open_pty(path)
    assert os.listdir("/proc/self/fd") == before


def test_a_locked_peer_cannot_be_opened_until_it_is_unlocked() -> None:
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    try:
        with pytest.raises(OSError, match="Input/output error"):
            terminal.peer(master)
        terminal.unlock(master)
        terminal.unlock(master)
        os.close(terminal.peer(master))
    finally:
        os.close(master)


def test_the_size_is_set_through_either_side(pair: tuple[int, int]) -> None:
    master, slave = pair
    assert terminal.size(slave) == (0, 0)
    terminal.set_size(master, 24, 80)
    assert terminal.size(slave) == (24, 80)
    assert os.get_terminal_size(slave) == (80, 24)
    terminal.set_size(slave, 65535, 1)
    assert terminal.size(master) == (65535, 1)


@pytest.mark.parametrize(("rows", "columns"), [(-1, 80), (24, 65536)])
def test_an_impossible_size_is_einval(pair: tuple[int, int], rows: int, columns: int) -> None:
    with pytest.raises(OSError, match=f"{rows}x{columns}") as caught:
        terminal.set_size(pair[0], rows, columns)
    assert caught.value.errno == errno.EINVAL


def test_the_size_of_what_is_no_terminal_is_enotty(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        for call in (
            lambda: terminal.size(file.fileno()),
            lambda: terminal.set_size(file.fileno(), 1, 1),
            lambda: terminal.make_raw(file.fileno()),
            lambda: terminal.restore(file.fileno(), [0, 0, 0, 0, 0, 0, [b"\0"] * 32]),
            lambda: terminal.number(file.fileno()),
        ):
            with pytest.raises(OSError, match=r"Inappropriate ioctl|Not a tty") as caught:
                call()
            assert caught.value.errno == errno.ENOTTY


def test_raw_mode_passes_every_byte_unchanged_and_without_echo(pair: tuple[int, int]) -> None:
    master, slave = pair
    every_byte = bytes(range(256))
    saved = terminal.make_raw(slave)
    os.write(master, every_byte)
    assert os.read(slave, 1000) == every_byte
    os.write(slave, every_byte)
    assert os.read(master, 1000) == every_byte
    terminal.restore(slave, saved)
    assert termios.tcgetattr(slave) == saved
    os.write(slave, b"\n")
    assert os.read(master, 10) == b"\r\n"  # the twin: cooked again


def test_making_raw_twice_and_restoring_twice_gives_the_first_state_back(pair: tuple[int, int]) -> None:
    _, slave = pair
    before = termios.tcgetattr(slave)
    first = terminal.make_raw(slave)
    raw = termios.tcgetattr(slave)
    second = terminal.make_raw(slave)
    assert second == raw != first
    terminal.restore(slave, second)
    terminal.restore(slave, first)
    assert termios.tcgetattr(slave) == before


def test_typed_ahead_input_survives_raw_mode(pair: tuple[int, int]) -> None:
    master, slave = pair
    os.write(master, b"typed early\n")
    select.select([slave], [], [])
    terminal.make_raw(slave)
    assert os.read(slave, 100) == b"typed early\n"


def test_a_session_leader_gets_its_controlling_terminal_by_asking_only(in_child) -> None:
    def body() -> tuple[int, bool]:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # comes when a session leader loses its terminal
        with pty() as (_, slave):
            with pytest.raises(OSError, match="No such device"):
                os.open("/dev/tty", os.O_RDWR)
            terminal.make_controlling(slave)
            os.close(os.open("/dev/tty", os.O_RDWR))
            return os.tcgetpgrp(slave), os.tcgetpgrp(slave) == os.getpgrp()

    group, is_ours = in_child(body)
    assert group
    assert is_ours


def test_who_leads_no_session_gets_no_controlling_terminal(in_child) -> None:
    def body() -> str:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            with pty() as (_, slave):
                try:
                    terminal.make_controlling(slave)
                except PermissionError:
                    os._exit(7)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(body) == 7


@contextmanager
def program_on_a_terminal(ready: bytes) -> Iterator[tuple[int, int]]:
    """Yield (master, pid) of a child that waits for signals with the terminal as its controlling one."""
    with pty() as (master, slave):
        pid = os.fork()
        if pid == 0:
            try:
                process.reset_signals()
                os.setsid()
                terminal.make_controlling(slave)
                signal.signal(signal.SIGWINCH, lambda *_: os.write(slave, b"%d %d\n" % terminal.size(slave)))
                os.write(slave, ready)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        try:
            yield master, pid
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def read_line(master: int) -> bytes:
    """Read up to a newline; the terminal may hand out "ready" and its "\\r\\n" one by one."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(master, 100)
    return line


def test_a_new_size_reaches_the_program_as_sigwinch() -> None:
    with program_on_a_terminal(b"ready\n") as (master, _):
        assert read_line(master) == b"ready\r\n"
        terminal.set_size(master, 40, 132)
        assert read_line(master) == b"40 132\r\n"


def test_control_c_typed_at_the_master_interrupts_the_program() -> None:
    with program_on_a_terminal(b"ready\n") as (master, pid):
        assert read_line(master) == b"ready\r\n"
        os.write(master, b"\x03")
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        assert (info.si_code, info.si_status) == (os.CLD_KILLED, signal.SIGINT)


def test_closing_the_master_hangs_up_the_program() -> None:
    master = terminal.open_pty("/dev/ptmx")
    slave = terminal.peer(master)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(master)
        process.reset_signals()
        os.setsid()
        terminal.make_controlling(slave)
        os.write(writing, b"x")
        while True:
            signal.pause()
    os.close(slave)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    os.close(master)
    assert process.exit_code(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
