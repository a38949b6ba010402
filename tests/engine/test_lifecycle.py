"""The life of real containers: every verb, every ending."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from minidock.engine import containers, creation, inspection, lifecycle, waiting
from minidock.engine.model import ContainerConfig, HostConfig, NetworkingConfig
from minidock.errors import Conflict, InvalidParameter, NotFound, NotModified, StartFailed
from minidock.kernel import process
from tests.engine.conftest import Bench

TRAP = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.05; done"


def wait_for(bench: Bench, identifier: str, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in bench.output(identifier):
        assert time.monotonic() < deadline, f"{text!r} was never written"
        time.sleep(0.01)


def test_a_program_runs_and_its_exit_code_and_output_are_kept(bench: Bench) -> None:
    assert bench.run("sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\nerr\n")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-program"], 127, "executable file not found in $PATH"),
        (["/etc"], 126, ""),
        (["/no/such/file"], 127, "no such file or directory"),
    ],
)
def test_a_program_that_cannot_be_run_fails_the_start_with_dockers_code(
    bench: Bench, command: list[str], code: int, words: str
) -> None:
    identifier = bench.create(*command)
    with pytest.raises(StartFailed) as caught:
        lifecycle.start(bench.engine, identifier)
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    state = inspection.inspect(bench.engine, identifier).state
    assert (state.status, state.exit_code, state.running) == ("created", code, False)
    assert state.error == str(caught.value)
    lifecycle.remove(bench.engine, identifier)


def test_a_failed_start_with_rm_leaves_nothing(bench: Bench) -> None:
    identifier = bench.create("no-such-program", auto_remove=True)
    with waiting.wait(bench.engine, identifier, "removed") as waiter:
        with pytest.raises(StartFailed):
            lifecycle.start(bench.engine, identifier)
        assert waiter.wait(5)
        assert waiter.result().status_code == 127
    assert identifier not in bench.engine.containers
    assert not os.path.exists(bench.engine.paths.container(identifier))


def test_a_container_killed_by_a_signal_ends_with_128_and_its_number(bench: Bench) -> None:
    assert bench.run("sh", "-c", "kill -USR1 $$; sh -c 'kill -KILL $$'; exit $?")[0] == 137


def test_rm_takes_everything_away(bench: Bench) -> None:
    identifier = bench.create("true", auto_remove=True, name="short-lived")
    with waiting.wait(bench.engine, identifier, "removed") as waiter:
        lifecycle.start(bench.engine, identifier)
        assert waiter.wait(20)
    with pytest.raises(NotFound, match="No such container: short-lived"):
        containers.find(bench.engine, "short-lived")
    deadline = time.monotonic() + 10
    while any(identifier in name for name in os.listdir(bench.engine.paths.containers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not bench.engine.host.cgroups.at(f"{bench.cgroup_parent}/{identifier}").exists()


def test_stop_asks_first_and_waits_for_the_answer(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", TRAP)
    wait_for(bench, identifier, "ready")
    lifecycle.stop(bench.engine, identifier)
    assert bench.wait(identifier).status_code == 7
    assert "got it" in bench.output(identifier)
    with pytest.raises(NotModified):
        lifecycle.stop(bench.engine, identifier)


def test_stop_kills_what_does_not_listen(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for(bench, identifier, "ready")
    lifecycle.stop(bench.engine, identifier, timeout=0)
    assert bench.wait(identifier).status_code == 137


def test_the_stop_signal_of_the_container_is_used(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", TRAP.replace("TERM", "USR2"), stop_signal="SIGUSR2")
    wait_for(bench, identifier, "ready")
    lifecycle.stop(bench.engine, identifier)
    assert bench.wait(identifier).status_code == 7


def test_kill_delivers_any_signal(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "trap 'echo winch' WINCH; echo ready; while :; do sleep 0.05; done")
    wait_for(bench, identifier, "ready")
    lifecycle.kill(bench.engine, identifier, "WINCH")
    wait_for(bench, identifier, "winch")
    lifecycle.kill(bench.engine, identifier)
    assert bench.wait(identifier).status_code == 137
    with pytest.raises(
        Conflict, match=f"cannot kill container: {identifier}: container {identifier} is not running"
    ):
        lifecycle.kill(bench.engine, identifier)
    with pytest.raises(InvalidParameter, match="Invalid signal: NOPE"):
        lifecycle.kill(bench.engine, identifier, "NOPE")


def test_a_paused_container_stands_still_and_goes_on(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "while :; do echo x; sleep 0.01; done")
    lifecycle.pause(bench.engine, identifier)
    state = inspection.inspect(bench.engine, identifier).state
    assert (state.status, state.running, state.paused) == ("paused", True, True)
    time.sleep(0.05)
    before = len(bench.output(identifier))
    time.sleep(0.2)
    assert len(bench.output(identifier)) == before
    for refused in (lifecycle.pause, lifecycle.start, lifecycle.remove):
        with pytest.raises(Conflict):
            refused(bench.engine, identifier)
    lifecycle.unpause(bench.engine, identifier)
    deadline = time.monotonic() + 10
    while len(bench.output(identifier)) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(Conflict, match="is not paused"):
        lifecycle.unpause(bench.engine, identifier)
    lifecycle.remove(bench.engine, identifier, force=True)


@pytest.mark.parametrize("verb", ["stop", "kill", "remove"])
def test_a_paused_container_can_be_ended(bench: Bench, verb: str) -> None:
    identifier = bench.start("sleep", "100")
    lifecycle.pause(bench.engine, identifier)
    if verb == "stop":
        lifecycle.stop(bench.engine, identifier, timeout=0)
    elif verb == "kill":
        lifecycle.kill(bench.engine, identifier)
    else:
        lifecycle.remove(bench.engine, identifier, force=True)
        return
    assert bench.wait(identifier).status_code == 137


def test_a_running_container_is_removed_only_by_force(bench: Bench) -> None:
    identifier = bench.start("sleep", "100", name="stubborn")
    with pytest.raises(Conflict, match='cannot remove container "/stubborn": container is running'):
        lifecycle.remove(bench.engine, "stubborn")
    lifecycle.remove(bench.engine, "stubborn", force=True)
    assert identifier not in bench.engine.containers


def test_restart_keeps_a_container_that_rm_would_take(bench: Bench) -> None:
    identifier = bench.start("sleep", "100", auto_remove=True)
    first = containers.find(bench.engine, identifier).state.pid
    lifecycle.restart(bench.engine, identifier, timeout=0)
    second = containers.find(bench.engine, identifier).state.pid
    assert first != second > 0
    with waiting.wait(bench.engine, identifier, "removed") as waiter:
        lifecycle.kill(bench.engine, identifier)
        assert waiter.wait(20)


def test_a_container_can_be_started_again_and_finds_its_files(bench: Bench) -> None:
    identifier = bench.start("sh", "-c", "ls /mark 2>/dev/null; echo > /mark")
    bench.wait(identifier)
    lifecycle.start(bench.engine, identifier)
    bench.wait(identifier)
    assert bench.output(identifier) == "/mark\n"
    with pytest.raises(NotModified):
        lifecycle.stop(bench.engine, identifier)


def test_the_conditions_of_wait(bench: Bench) -> None:
    identifier = bench.create("true")
    with (
        waiting.wait(bench.engine, identifier) as now,
        waiting.wait(bench.engine, identifier, "next-exit") as later,
    ):
        assert now.wait(0)
        assert not later.wait(0)
        lifecycle.start(bench.engine, identifier)
        assert later.wait(20)
        assert later.result().status_code == 0
    with pytest.raises(InvalidParameter, match='invalid condition: "soon"'):
        waiting.wait(bench.engine, identifier, "soon")
    with waiting.wait(bench.engine, identifier, "removed") as removed:
        assert not removed.wait(0)
        lifecycle.remove(bench.engine, identifier)
        assert removed.wait(5)


def test_a_waiter_that_leaves_is_forgotten(bench: Bench) -> None:
    identifier = bench.start("sleep", "100")
    waiter = waiting.wait(bench.engine, identifier)
    assert containers.find(bench.engine, identifier).waiters
    waiter.close()
    waiter.close()
    assert not containers.find(bench.engine, identifier).waiters
    lifecycle.remove(bench.engine, identifier, force=True)


def test_only_one_of_many_starts_starts(bench: Bench) -> None:
    identifier = bench.create("sleep", "100")
    outcomes: list[str] = []

    def start() -> None:
        try:
            lifecycle.start(bench.engine, identifier)
            outcomes.append("started")
        except NotModified:
            outcomes.append("already")

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["already"] * 5 + ["started"]
    lifecycle.remove(bench.engine, identifier, force=True)


def test_the_events_of_a_life_come_in_dockers_order(bench: Bench) -> None:
    with bench.engine.events.subscribe(filters={"type": ["container"]}) as listener:
        identifier = bench.create("true", auto_remove=True, labels={"a": "b"})
        with waiting.wait(bench.engine, identifier, "removed") as waiter:
            lifecycle.start(bench.engine, identifier)
            assert waiter.wait(20)
        told = [event for event in listener.take() if event.actor.id == identifier]
    assert [event.action for event in told] == ["create", "start", "die", "destroy"]
    assert told[2].actor.attributes["exitCode"] == "0"
    assert told[0].actor.attributes["a"] == "b"
    assert told[0].actor.attributes["image"] == "hostbox"


def test_memory_beyond_the_limit_kills_and_says_so(bench: Bench) -> None:
    hog = "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null"  # tail keeps it all
    identifier = bench.start(
        "sh", "-c", f"exec 2>/dev/null; {hog}; exit 137", memory=16 << 20, memory_swap=16 << 20
    )
    assert bench.wait(identifier).status_code == 137
    assert inspection.inspect(bench.engine, identifier).state.oom_killed is True


def test_the_limits_are_in_the_cgroup(bench: Bench) -> None:
    identifier = bench.start("sleep", "100", memory=64 << 20, pids_limit=17)
    statistics = bench.engine.cgroup(containers.find(bench.engine, identifier)).statistics()
    assert statistics.memory_limit == 64 << 20
    assert statistics.pids_limit == 17
    lifecycle.remove(bench.engine, identifier, force=True)


def test_what_the_user_asks_for_is_what_the_program_sees(bench: Bench, tmp_path: Path) -> None:
    token = os.urandom(8).hex()
    (tmp_path / "token").write_text(token)
    tmp_path.chmod(0o755)
    script = (
        "cat /b/token; echo; hostname; pwd; id -u; id -g; ulimit -n; cat /proc/sys/kernel/msgmax; "
        "grep NoNewPrivs /proc/self/status; grep ' /t ' /proc/mounts; "
        "touch /x 2>&1; touch /b/x 2>&1; echo $HOME"
    )
    code, output = bench.run(
        "sh", "-c", script, hostname="box", working_dir="/w/d", user="1000:7", readonly_rootfs=True,
        binds=[f"{tmp_path}:/b:ro"], tmpfs={"/t": "size=4k"}, sysctls={"kernel.msgmax": "4242"},
        security_opt=["no-new-privileges"], network_mode="none",
    )  # fmt: skip
    assert code == 0
    lines = output.splitlines()
    assert lines[:5] == [token, "box", "/w/d", "1000", "7"]
    assert lines[6] == "4242"
    assert lines[7].split() == ["NoNewPrivs:", "1"]
    assert "size=4k" in lines[8]
    assert "Read-only file system" in lines[9]
    assert "Read-only file system" in lines[10]
    assert lines[11] == "/"


def test_the_network_mode_decides_the_namespace(bench: Bench) -> None:
    own = os.readlink("/proc/self/ns/net")
    host, none, default = (
        bench.run("readlink", "/proc/self/ns/net", network_mode=mode)[1].strip()
        for mode in ("host", "none", "default")
    )
    assert host == own
    assert none.startswith("net:")
    assert own not in (none, default)


def test_a_user_who_is_not_in_the_image_fails_the_start(bench: Bench) -> None:
    identifier = bench.create("true", user="nobody-at-all")
    with pytest.raises(
        StartFailed, match="unable to find user nobody-at-all: no matching entries in passwd file"
    ):
        lifecycle.start(bench.engine, identifier)


def test_a_lost_shim_means_137_and_no_process_left(bench: Bench) -> None:
    identifier = bench.start("sleep", "100")
    container = containers.find(bench.engine, identifier)
    shim = container.shim
    assert shim is not None
    with waiting.wait(bench.engine, identifier, "next-exit") as waiter:
        os.kill(shim.shim_pid, signal.SIGKILL)
        assert waiter.wait(20)
    state = inspection.inspect(bench.engine, identifier).state
    assert (state.status, state.exit_code, state.error) == ("exited", 137, "shim lost")
    assert not bench.engine.cgroup(container).exists()
    lifecycle.start(bench.engine, identifier)
    lifecycle.remove(bench.engine, identifier, force=True)


def test_only_a_missing_image_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="No such image: nowhere:latest"):
        creation.create(
            bench.engine, ContainerConfig(image="nowhere", cmd=["x"]), HostConfig(), NetworkingConfig()
        )


def test_a_create_that_fails_leaves_nothing(bench: Bench) -> None:
    bench.create("true", name="taken")
    before = sorted(os.listdir(bench.engine.paths.containers))
    with pytest.raises(Conflict, match='The container name "/taken" is already in use'):
        bench.create("true", name="taken")
    with pytest.raises(InvalidParameter, match="Minimum memory limit"):
        bench.create("true", name="small", memory=1)
    assert sorted(os.listdir(bench.engine.paths.containers)) == before
    assert bench.engine.names.owner("small") is None


def test_a_container_is_found_by_id_name_slash_and_unique_prefix(bench: Bench) -> None:
    identifier = bench.create("true", name="found")
    for reference in (identifier, identifier[:12], "found", "/found"):
        assert containers.find(bench.engine, reference).id == identifier
    for reference in ("", "foun", "zz"):
        with pytest.raises(NotFound, match=f"No such container: {reference}"):
            containers.find(bench.engine, reference)


def test_a_renamed_container_keeps_its_new_name_only(bench: Bench) -> None:
    identifier = bench.create("true", name="old-name")
    containers.rename(bench.engine, "old-name", "/new-name")
    assert containers.find(bench.engine, "new-name").id == identifier
    with pytest.raises(NotFound):
        containers.find(bench.engine, "old-name")
    bench.create("true", name="old-name")
    with pytest.raises(Conflict):
        containers.rename(bench.engine, "new-name", "old-name")
    assert containers.find(bench.engine, identifier).name == "new-name"


def test_a_stopped_shim_keeps_nobody_from_removing_its_container(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "KILL_PATIENCE", 1.0)
    identifier = bench.start("sleep", "1000")
    container = containers.find(bench.engine, identifier)
    assert container.shim is not None
    process.pidfd_send_signal(container.shim.pidfd, signal.SIGSTOP)
    lifecycle.stop(bench.engine, identifier, 0)
    assert inspection.inspect(bench.engine, identifier).state.exit_code == 137
    lifecycle.remove(bench.engine, identifier)
    assert identifier not in bench.engine.containers
