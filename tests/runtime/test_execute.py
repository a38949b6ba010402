"""minidock.runtime.execute: one more program in a container, as confined as the first."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import StartFailed
from minidock.kernel import namespaces
from tests.runtime.conftest import eventually

ALL = ("mount", "pid", "ipc", "uts", "network", "cgroup", "time")


@pytest.fixture
def running(bench):
    """A container that waits, in namespaces of its own of every kind."""
    spec = bench.spec("sleep", "1000")
    spec["linux"]["namespaces"] = [{"type": kind} for kind in ALL]
    return bench.launch(spec)


def pid_of(running, program: str) -> int:
    children = Path(f"/proc/{running.shim.shim_pid}/task/{running.shim.shim_pid}/children").read_text()
    for pid in map(int, children.split()):
        if pid != running.pid and program in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise AssertionError(f"{program} does not run")


def test_it_is_in_all_namespaces_and_the_cgroup_of_the_container(running) -> None:
    running.begin_exec("sleep", "999")
    pid = pid_of(running, "999")
    for name in namespaces.NAMES:
        assert namespaces.inode(pid, name) == namespaces.inode(running.pid, name), name
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{running.pid}/cgroup").read_text()
    assert os.path.samefile(f"/proc/{pid}/root", f"/proc/{running.pid}/root")


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_its_exit_code_is_its_own(running, code: int) -> None:
    assert running.execute("sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_death_by_a_signal_is_128_and_its_number(running, name: str) -> None:
    assert running.execute("sh", "-c", f"kill -{name} $$").code == 128 + signal.Signals[f"SIG{name}"]


def test_its_end_does_not_end_the_container(running) -> None:
    for _ in range(3):
        assert running.execute("true").code == 0
    assert running.execute("echo", "still").out == "still\n"


def test_its_streams_are_its_own(running, bench) -> None:
    ended = running.execute("sh", "-c", "cat; echo err >&2", stdin=b"in")
    assert (ended.out, ended.err) == ("in", "err\n")
    assert bench.log(running) == []


def test_eight_mebibytes_go_through_it(running) -> None:
    ended = running.execute("sh", "-c", "cat | md5sum; echo", stdin=bytes(8 << 20))
    assert ended.out.split()[0] == "96995b58d4cbf6aaa9041b4f00c7f6ae"


def test_it_starts_as_clean_as_the_first(running) -> None:
    status = running.execute("grep", "^Sig[BIC]", "/proc/self/status").out
    assert {line.split()[1] for line in status.splitlines()} == {"0" * 16}
    assert running.execute("ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
    assert running.execute("sh", "-c", "umask").out == "0022\n"
    assert running.execute("env").out.split() == ["PATH=/bin:/usr/bin", "TERM=xterm"]
    assert running.execute("sh", "-c", "yes | head -1").out == "y\n"


@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_working_directory_outside_of_the_root_is_refused(bench, running, how: str) -> None:
    """CVE-2024-21626: /proc/self/fd/N of the process before exec may lead to the host."""
    refusals = []
    for number in range(3, 48):
        path = f"/proc/self/fd/{number}"
        try:
            if how == "run":
                ended = bench.run(bench.spec("pwd", process_cwd=path))
            else:
                ended = running.execute("pwd", cwd=path)
        except StartFailed as error:
            refusals.append(str(error))
            continue
        assert ended.out.strip() == "/", (path, ended)
    words = ("no such file", "not a directory", "outside", "too many levels")
    assert all(any(word in refusal for word in words) for refusal in refusals), refusals
    assert len(refusals) > 40


def test_a_missing_working_directory_is_an_error_here(running) -> None:
    with pytest.raises(StartFailed, match="/nowhere"):
        running.execute("pwd", cwd="/nowhere")


def test_a_terminal_is_a_new_one_of_the_container(running) -> None:
    size = {"height": 12, "width": 34}
    script = "tty; stty size; exit 3"
    identifier, peer = running.begin_exec("sh", "-c", script, framed=False, terminal=True, consoleSize=size)
    assert running.event("exec_exit", id=identifier)["exit_code"] == 3
    assert bytes(peer.wait().data) == b"/dev/pts/0\r\n12 34\r\n"


def test_its_terminal_can_be_resized(running) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    identifier, peer = running.begin_exec("sh", "-c", script, framed=False, terminal=True)
    peer.wait_for(b"ready")
    running.shim.resize(5, 6, identifier)
    peer.wait_for(b"5 6\r\n")
    running.event("exec_exit", id=identifier)
    with pytest.raises(StartFailed, match="not running"):
        running.shim.resize(5, 6, identifier)


def test_an_environment_of_two_megabytes_fits(running) -> None:
    environment = ["PATH=/bin"] + [f"V{number}={'x' * 100_000}" for number in range(15)]
    assert running.execute("sh", "-c", "echo ${#V0} ${#V14}", env=environment).out == "100000 100000\n"


def test_a_grandchild_that_holds_the_output_delays_the_end_but_not_other_requests(running) -> None:
    """It keeps the pipe open: the end is reported after two seconds, and everybody else is served."""
    first, _ = running.begin_exec("sh", "-c", "sleep 1000 & exit 5")
    assert running.execute("echo", "meanwhile").out == "meanwhile\n"
    names = [event["id"] for event in running.events if event["event"] == "exec_exit"]
    assert first not in names
    assert running.event("exec_exit", id=first)["exit_code"] == 5


def test_many_of_them_with_lingering_children_all_report(running) -> None:
    begun = [running.begin_exec("sh", "-c", f"sleep 1000 & exit {number}")[0] for number in range(30)]
    for number, identifier in enumerate(begun):
        assert running.event("exec_exit", id=identifier)["exit_code"] == number


def test_the_end_of_the_container_ends_it_and_both_are_reported(running) -> None:
    identifier, peer = running.begin_exec("sh", "-c", "echo started; sleep 1000")
    peer.wait_for(b"started")
    os.kill(running.pid, signal.SIGKILL)
    assert running.event("exec_exit", id=identifier)["exit_code"] == 137
    assert running.event("exit")["exit_code"] == 137
    assert peer.wait().streams()[1] == b"started\n"


def test_without_a_pid_namespace_it_still_ends_with_the_container(bench) -> None:
    spec = bench.spec("sleep", "1000")
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    spec["linux"]["cgroupsPath"] = ""
    running = bench.launch(spec)
    identifier, _ = running.begin_exec("sleep", "1000")
    os.kill(running.pid, signal.SIGKILL)
    assert running.event("exec_exit", id=identifier)["exit_code"] == 137
    assert running.event("exit")["exit_code"] == 137


def test_it_enters_the_root_that_was_built_although_pid_1_has_left_it(bench) -> None:
    spec = bench.shell(
        "mkdir -p /tmp/jail; cp /bin/busybox /tmp/jail/; exec chroot /tmp/jail /busybox sleep 1000"
    )
    running = bench.launch(spec)
    assert "bin" in running.execute("ls", "/").out.split()


@pytest.mark.soak(300)
def test_many_leave_no_zombie_and_no_descriptor(running, rounds: int) -> None:
    running.execute("true")
    before = len(os.listdir(f"/proc/{running.shim.shim_pid}/fd"))
    for number in range(rounds):
        assert running.execute("sh", "-c", f"exit {number % 256}").code == number % 256
        running.events.clear()
    children = Path(f"/proc/{running.shim.shim_pid}/task/{running.shim.shim_pid}/children").read_text()
    assert children.split() == [str(running.pid)]
    kept: Callable[[], int] = lambda: len(os.listdir(f"/proc/{running.shim.shim_pid}/fd"))  # noqa: E731
    eventually(lambda: kept() <= before, "the shim keeps descriptors", seconds=5)
