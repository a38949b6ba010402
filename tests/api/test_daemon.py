"""The daemon's life: locks, sockets, stop and start with containers running; for minidock's own daemon."""

import contextlib
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.api.daemon_options import parse_options
from minidock.errors import InvalidParameter
from tests.api.conftest import DAEMON, IMAGE, START_TIMEOUT, Daemon, busybox_tar

COMMAND_LINE = "from minidock.cli.main import run_and_exit; run_and_exit()"
StartDaemon = Callable[..., Daemon]


def run_daemon(*options: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is expected to end by itself."""
    command = [sys.executable, "-c", DAEMON, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_two_daemons_on_one_root_refuse(new_daemon: StartDaemon) -> None:
    daemon = new_daemon("twice")
    roots = ["--data-root", str(daemon.directory / "data"), "--exec-root", str(daemon.directory / "run")]
    second = run_daemon(*roots, "-H", f"unix://{daemon.directory}/other.sock")
    assert second.returncode == 1
    assert f"(pid {daemon.process.pid})" in second.stderr
    other_exec_root = [*roots[:3], str(daemon.directory / "run2")]
    third = run_daemon(*other_exec_root)
    assert third.returncode == 1
    assert "data" in third.stderr
    assert daemon.client().get("/_ping").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_socket_and_no_pid_file(new_daemon: StartDaemon, number: int) -> None:
    daemon = new_daemon(f"stopped-{number}")
    assert stat.S_IMODE(os.stat(daemon.socket_path).st_mode) == 0o660
    assert (daemon.directory / "run" / "minidock.pid").read_text() == f"{daemon.process.pid}\n"
    assert daemon.stop(number) == 0
    assert not os.path.exists(daemon.socket_path)
    assert not (daemon.directory / "run" / "minidock.pid").exists()


@pytest.mark.soak(200)
def test_an_interrupt_at_any_moment_of_a_start_ends_the_daemon_and_costs_no_container(
    new_daemon: StartDaemon, rounds: int
) -> None:
    """It was once taken for a damaged record in the middle of a write, and missed just before a poll."""
    daemon = new_daemon("interrupted")
    client = daemon.client()
    client.post(f"/images/create?fromSrc=-&repo={IMAGE.partition(':')[0]}&tag=latest", busybox_tar())
    identifier = client.create("sleep", "1000")
    client.start(identifier)
    pid = client.inspect(identifier)["State"]["Pid"]
    assert daemon.stop() == 0
    began = time.monotonic()
    daemon = new_daemon("interrupted")
    longest = time.monotonic() - began
    assert daemon.stop() == 0
    assert not os.path.exists(daemon.socket_path)
    command = [sys.executable, "-c", COMMAND_LINE, "daemon", *daemon.process.args[3:]]
    for turn in range(rounds):
        with open(daemon.directory / "log", "ab") as log:
            # Who runs the tests in the background has them ignore interrupts: sh(1), "Asynchronous Lists".
            heard = ["env", "--default-signal=INT", *command]
            process = subprocess.Popen(heard, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        time.sleep(random.Random(turn).uniform(0, longest))
        while is_caught(process.pid, signal.SIGINT):  # this is Python itself, which has just begun
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=START_TIMEOUT)
        assert not os.path.exists(daemon.socket_path), (
            f"turn {turn}, status {process.returncode}: {daemon.log}"
        )
    daemon = new_daemon("interrupted")
    assert daemon.client().inspect(identifier)["State"]["Pid"] == pid
    assert "WARNING" not in daemon.log


def is_caught(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal: proc(5), SigCgt."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_no_interrupt_of_an_import_is_lost() -> None:
    """A KeyboardInterrupt in a weak reference's callback or in an import by C is told to nobody."""
    program = """
import signal, sys
class Order:
    def find_spec(name, path=None, target=None):
        print(name, getattr(signal.getsignal(signal.SIGINT), "name", ""))
sys.meta_path.insert(0, Order)
import minidock.cli.daemon, minidock.cli.flags
signal.signal(signal.SIGINT, signal.default_int_handler)
command = minidock.cli.daemon.COMMANDS["daemon"]
minidock.cli.daemon.run(minidock.cli.flags.parse(command, ["--help"], "daemon"))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "minidock.api.daemon SIG_DFL\n" in answer.stdout, answer.stderr


def test_a_container_outlives_its_daemon(new_daemon: StartDaemon) -> None:
    daemon = new_daemon("outlived")
    client = daemon.client()
    repository, _, tag = IMAGE.partition(":")
    client.post(f"/images/create?fromSrc=-&repo={repository}&tag={tag}", busybox_tar())
    identifier = client.create("sleep", "1000")
    client.start(identifier)
    pid = client.inspect(identifier)["State"]["Pid"]
    assert daemon.stop() == 0
    os.kill(pid, 0)
    again = new_daemon("outlived")
    state = again.client().inspect(identifier)["State"]
    assert (state["Pid"], state["Running"]) == (pid, True)


def test_a_killed_daemons_stale_socket_is_taken_over(new_daemon: StartDaemon) -> None:
    first = new_daemon("stale")
    first.stop(signal.SIGKILL)
    assert os.path.exists(first.socket_path)
    assert new_daemon("stale").client().get("/_ping").status == 200


def test_several_hosts_at_once(new_daemon: StartDaemon, daemon_directory: Path, tmp_path: Path) -> None:
    directory = tmp_path / "second"
    default = f"unix://{daemon_directory}/hosts/run/minidock.sock"  # -H replaces the default: it is named too
    daemon = new_daemon("hosts", "-H", f"unix://{directory}/s", "-H", default)
    for path in (f"{directory}/s", daemon.socket_path):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(path)
    daemon.stop()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-H", "tcp://0.0.0.0:0"), "--insecure-tcp"),
        (("-H", "nonsense"), "invalid host 'nonsense'"),
        (("--group", "no-such-group-here"), "group 'no-such-group-here' does not exist"),
        (("--replace", "os:system=/x"), "invalid --replace"),
        (("--cgroup-parent", "/a/../../b"), "invalid --cgroup-parent"),
    ],
)
def test_a_bad_option_ends_with_one_sentence(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    ended = run_daemon("--data-root", f"{tmp_path}/data", "--exec-root", f"{tmp_path}/run", *options)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_bridge_and_its_address_reach_the_engine() -> None:
    options = parse_options(["--bridge", "br7", "--bip", "10.0.0.1/24"])
    assert (options.engine.bridge, options.engine.bip) == ("br7", "10.0.0.1/24")


@pytest.mark.parametrize(
    "words", [["--bridge", "a/b"], ["--bridge", "b" * 16], ["--bip", "10.0.0.1"], ["--bip", "x/24"]]
)
def test_a_bridge_that_cannot_be_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidParameter, match="invalid --b"):
        parse_options(words)


def test_replacements_are_parsed() -> None:
    options = parse_options(["--replace", "minidock.runtime.root:pivot=mine.py"])
    assert options.engine.replacements == (("minidock.runtime.root:pivot", os.path.abspath("mine.py")),)
    with pytest.raises(InvalidParameter):
        parse_options(["--replace", "minidock.runtime.root=mine.py"])


def test_systemd_is_told_when_the_daemon_is_ready(
    new_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as supervisor:
        supervisor.bind(f"{tmp_path}/notify")
        supervisor.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        daemon = new_daemon("notified")
        assert supervisor.recv(100) == b"READY=1"
        daemon.stop()
        assert supervisor.recv(100) == b"STOPPING=1"
