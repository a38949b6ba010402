"""A daemon that ends, in whatever way, and the one that comes after it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from minidock.engine import containers, inspection, lifecycle
from minidock.engine.engine import Engine
from minidock.errors import Conflict, NotFound
from tests.engine.conftest import Bench

DAEMON = """
import sys, time
from minidock.engine.engine import Configuration, Engine
from minidock.engine import creation, lifecycle
from minidock.engine.model import ContainerConfig, HostConfig, NetworkingConfig
from minidock.paths import Paths
data, exec_root, parent = sys.argv[1:]
engine = Engine.open(Configuration(Paths(data, exec_root), cgroup_parent=parent, own_cgroup=False))
def start(name, command, **host):
    config = ContainerConfig(image="hostbox", cmd=["sh", "-c", command])
    made = creation.create(engine, config, HostConfig(**host), NetworkingConfig(), name)
    lifecycle.start(engine, made.id)
start("runs", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
binds = [f"{data}/../go:/go"]
start("ends", "while [ ! -e /go/go ]; do sleep 0.01; done; echo last words; exit 5", binds=binds)
start("goes", "while [ ! -e /go/go ]; do sleep 0.01; done", auto_remove=True, binds=binds)
start("paused", "sleep 100")
lifecycle.pause(engine, "paused")
print("ready", flush=True)
time.sleep(600)
"""


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def kill_a_daemon_with_containers(bench: Bench) -> None:
    """Run an engine in another process, let it start containers, and kill it with -9."""
    bench.engine.close()
    paths = bench.configuration.paths
    arguments = [
        sys.executable,
        "-c",
        DAEMON,
        paths.data_root,
        paths.exec_root,
    ]
    with subprocess.Popen([*arguments, bench.cgroup_parent], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
        daemon.send_signal(signal.SIGKILL)


def test_a_killed_daemon_loses_nothing(fresh_bench: Bench) -> None:
    bench = fresh_bench
    kill_a_daemon_with_containers(bench)
    go = Path(bench.directory, "go", "go")
    go.touch()
    time.sleep(0.5)  # two of the four end while nobody is there
    bench.engine = engine = Engine.open(bench.configuration)
    assert engine.problems == []

    running = containers.find(engine, "runs")
    assert running.status == "running"
    os.kill(running.state.pid, 0)
    lines = len(bench.output(running.id).splitlines())
    lifecycle.kill(engine, "runs")
    output = [int(line) for line in bench.output(running.id).split()]
    assert output == list(range(1, len(output) + 1))  # no line is missing
    assert len(output) >= lines > 0

    ended = inspection.inspect(engine, "ends").state
    assert (ended.status, ended.exit_code) == ("exited", 5)
    assert bench.output("ends") == "last words\n"
    with pytest.raises(NotFound):
        containers.find(engine, "goes")

    assert containers.find(engine, "paused").status == "paused"
    lifecycle.unpause(engine, "paused")
    lifecycle.stop(engine, "paused", timeout=0)


def test_the_same_pid_runs_on_and_its_end_is_heard(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.start("sh", "-c", "while [ ! -e /end ]; do sleep 0.01; done; exit 9")
    pid = containers.find(bench.engine, identifier).state.pid
    engine = bench.reopen()
    assert containers.find(engine, identifier).state.pid == pid
    os.close(os.open(f"/proc/{pid}/root/end", os.O_CREAT | os.O_WRONLY))
    assert bench.wait(identifier).status_code == 9


def test_names_and_created_containers_come_back(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.create("true", name="later")
    engine = bench.reopen()
    assert containers.find(engine, "later").id == identifier
    with pytest.raises(Conflict):
        bench.create("true", name="later")
    lifecycle.start(engine, "later")
    assert bench.wait("later").status_code == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b'{"status": 1}'])
def test_a_damaged_state_is_rebuilt_as_ended(fresh_bench: Bench, content: bytes) -> None:
    bench = fresh_bench
    identifier = bench.start("true")
    bench.wait(identifier)
    directory = Path(bench.engine.paths.container(identifier))
    (directory / "state.json").write_bytes(content)
    (directory / "exit.json").unlink()
    engine = bench.reopen()
    assert "state.json is damaged" in engine.problems[0]
    state = inspection.inspect(engine, identifier).state
    assert (state.status, state.exit_code) == ("exited", 255)
    lifecycle.start(engine, identifier)
    assert bench.wait(identifier).status_code == 0


def test_a_damaged_state_of_a_running_container_is_asked_of_its_shim(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.start("sleep", "100")
    pid = containers.find(bench.engine, identifier).state.pid
    Path(bench.engine.paths.container(identifier), "state.json").write_bytes(b"{")
    engine = bench.reopen()
    assert containers.find(engine, identifier).status == "running"
    assert containers.find(engine, identifier).state.pid == pid


def test_a_container_whose_state_cannot_be_written_is_kept(fresh_bench: Bench) -> None:
    """A full disk at the start of the engine once cost what ran: it was killed and quarantined."""
    bench = fresh_bench
    identifier = bench.start("sleep", "100")
    pid = containers.find(bench.engine, identifier).state.pid
    directory = bench.engine.paths.container(identifier)
    subprocess.run(["chattr", "+i", directory], check=True)  # even root can make no file there
    try:
        engine = bench.reopen()
    finally:
        subprocess.run(["chattr", "-i", directory], check=True)
    assert directory in engine.problems[0]
    assert containers.find(engine, identifier).state.pid == pid
    lifecycle.kill(engine, identifier)
    assert bench.wait(identifier).status_code == 137


def test_a_damaged_record_is_quarantined_and_the_rest_goes_on(fresh_bench: Bench) -> None:
    bench = fresh_bench
    broken, sound = bench.start("sleep", "100", name="broken"), bench.create("true", name="sound")
    pid = containers.find(bench.engine, broken).state.pid
    Path(bench.engine.paths.container(broken), "config.json").write_text('{"id": 3}')
    engine = bench.reopen()
    assert "moved to" in engine.problems[0]
    assert list(engine.containers) == [sound]
    wait_until_gone(pid)  # nobody could have stopped it any more
    bench.create("true", name="broken")


def test_what_ran_in_another_boot_ended_with_255(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.start("true")
    bench.wait(identifier)
    container = containers.find(bench.engine, identifier)
    (Path(container.directory) / "exit.json").unlink()
    container.change(status="running", boot_id="another", pid=1)
    engine = bench.reopen()
    state = inspection.inspect(engine, identifier).state
    assert (state.status, state.exit_code) == ("exited", 255)


def test_a_shim_lost_between_two_daemons_means_137(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.start("sleep", "100")
    container = containers.find(bench.engine, identifier)
    assert container.shim is not None
    pid, shim_pid = container.state.pid, container.shim.shim_pid
    bench.engine.close()
    os.kill(shim_pid, signal.SIGKILL)
    bench.engine = Engine.open(bench.configuration)
    state = inspection.inspect(bench.engine, identifier).state
    assert (state.status, state.exit_code, state.error) == ("exited", 137, "shim lost")
    wait_until_gone(pid)


@pytest.mark.parametrize("between_daemons", [False, True])
def test_a_pid_that_another_process_has_now_is_not_the_containers(
    fresh_bench: Bench, between_daemons: bool
) -> None:
    """The number is the same, the start time is not: nothing that is meant for the container may reach it."""
    bench = fresh_bench
    identifier = bench.start("sleep", "1000")
    container = containers.find(bench.engine, identifier)
    assert container.shim is not None
    pid, shim_pid = container.state.pid, container.shim.shim_pid
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            if between_daemons:
                bench.engine.close()
                os.kill(shim_pid, signal.SIGKILL)
                path = Path(bench.configuration.paths.data_root, "containers", identifier, "state.json")
                document = json.loads(path.read_bytes())
                assert document["pid"] == pid
                path.write_text(json.dumps({**document, "pid": other.pid}))
                bench.engine = Engine.open(bench.configuration)
                assert inspection.inspect(bench.engine, identifier).state.status == "exited"
                wait_until_gone(pid)
            else:
                container.state = msgspec.structs.replace(container.state, pid=other.pid)
                lifecycle.kill(bench.engine, identifier, "TERM")
                container.state = msgspec.structs.replace(container.state, pid=pid)
            lifecycle.remove(bench.engine, identifier, force=True)
            assert other.poll() is None
        finally:
            other.kill()


def test_unfinished_directories_are_swept(fresh_bench: Bench) -> None:
    bench = fresh_bench
    paths = bench.engine.paths
    bench.engine.close()
    for name in ("f" * 64, ".removed-" + "e" * 64):
        os.makedirs(os.path.join(paths.containers, name, "rw/diff"))
    bench.engine = Engine.open(bench.configuration)
    bench.reopen()
    assert os.listdir(paths.containers) == []


def test_two_engines_never_share_a_data_root(fresh_bench: Bench) -> None:
    with pytest.raises(Conflict, match="another engine is running with the data root"):
        Engine.open(fresh_bench.configuration)


def test_a_start_that_never_reached_the_spawner_is_forgotten(fresh_bench: Bench) -> None:
    bench = fresh_bench
    identifier = bench.create("true")
    directory = bench.engine.paths.shim_directory(identifier)
    bench.engine.close()
    os.makedirs(directory)
    bench.engine = Engine.open(bench.configuration)
    assert not os.path.exists(directory)
    assert containers.find(bench.engine, identifier).status == "created"
    lifecycle.start(bench.engine, identifier)
    assert bench.wait(identifier).status_code == 0
