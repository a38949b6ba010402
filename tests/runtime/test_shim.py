"""minidock.runtime.shim: exit codes, exit.json, the order of the end, orphans, and life without a spawner."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import Conflict, StartFailed
from minidock.kernel import cgroups, process
from minidock.runtime import protocol
from minidock.runtime.client import Shim, Spawner
from minidock.runtime.requests import LogOptions
from tests.conftest import TIME_SCALE
from tests.runtime.conftest import eventually


def descriptors(pid: int) -> dict[str, str]:
    """Map the numbers of a process's descriptors to what they are."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 128, 137, 255])
def test_the_exit_code_is_the_programs_own(bench, code: int) -> None:
    assert bench.run(bench.shell(f"exit {code}")).code == code


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "ABRT", "USR1"])
def test_death_by_a_signal_is_128_and_its_number(bench, name: str) -> None:
    # Pid 1 is immune to its own signals, so the host sends it; only SIGKILL works on a pid 1 without handler.
    running = bench.launch(bench.spec("sleep", "1000"), init=name != "KILL")
    number = signal.Signals[f"SIG{name}"]
    os.kill(running.pid, number)
    assert running.wait().code == 128 + number


def test_exit_json_says_what_the_event_says(bench) -> None:
    running = bench.launch(bench.shell("exit 7"))
    event = running.event("exit")
    running.wait_for_shim()
    written = json.loads(Path(running.directory, "exit.json").read_text())
    assert written == {name: event[name] for name in ("exit_code", "oom_killed", "finished_at", "error")}
    assert (written["exit_code"], written["oom_killed"]) == (7, False)
    assert written["finished_at"].endswith("Z")


def test_output_written_right_before_the_end_is_all_there(bench) -> None:
    ended = bench.run(bench.shell("head -c 60000 /dev/zero | tr '\\0' x; echo end >&2"))
    assert (len(ended.out), ended.err) == (60000, "end\n")


def test_output_of_a_background_child_is_awaited_no_longer_than_the_container(bench) -> None:
    """The child dies with its pid namespace, so the streams end although it never closed them."""
    ended = bench.run(bench.shell("sleep 1000 & echo started"))
    assert (ended.code, ended.out) == (0, "started\n")


def test_a_child_that_outlives_a_shared_pid_namespace_is_killed_by_its_cgroup(bench) -> None:
    spec = bench.shell("setsid sleep 1000 & echo $!")
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    ended = bench.run(spec)
    child = int(ended.out)
    eventually(lambda: not os.path.exists(f"/proc/{child}"), "the orphan lives on")


def test_an_orphan_in_a_shared_pid_namespace_is_reaped_by_the_shim(bench) -> None:
    spec = bench.shell("sh -c 'sleep 0.1 & echo $!'; exec sleep 1000")
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    client = bench.make_peer(framed=False)
    running = bench.launch(spec, client)
    orphan = int(client.wait_for(b"\n"))
    eventually(lambda: not os.path.exists(f"/proc/{orphan}"), "the orphan stayed a zombie")
    assert process.start_time(running.pid) == running.shim.start_time


def test_a_memory_hog_is_killed_and_the_shim_knows_why(bench) -> None:
    spec = bench.spec("tail", "-c", "199999999", "/dev/zero")
    spec["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    ended = bench.run(spec)
    assert (ended.code, ended.event["oom_killed"]) == (137, True)


def test_an_end_without_a_memory_controller_is_recorded_all_the_same(bench) -> None:
    spec = bench.spec("sleep", "1000")
    path = spec["linux"]["cgroupsPath"] = f"{bench.parent}/own/{os.urandom(8).hex()}"
    running = bench.launch(spec)
    above = cgroups.at(f"{bench.parent}/own").paths()
    if cgroups.hierarchy().version == 2:
        Path(above[cgroups.UNIFIED], "cgroup.subtree_control").write_text("-memory")
    else:  # a controller is not taken from a cgroup in use there, but everybody may be moved out of it
        Path(above["memory"], "cgroup.procs").write_text(str(running.pid))
        os.rmdir(cgroups.at(path).paths()["memory"])
    os.kill(running.pid, signal.SIGKILL)
    ended = running.wait()
    assert (ended.code, ended.event["oom_killed"]) == (137, False)


def test_a_kill_without_memory_pressure_is_no_oom(bench) -> None:
    spec = bench.spec("sleep", "1000")
    spec["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
    running = bench.launch(spec)
    os.kill(running.pid, signal.SIGKILL)
    ended = running.wait()
    assert (ended.code, ended.event["oom_killed"]) == (137, False)


def test_a_fork_bomb_meets_its_limit(bench) -> None:
    script = "for i in $(seq 50); do sleep 5 & done 2>&1; echo unreachable"
    limited = bench.shell(script)
    limited["linux"]["resources"] = {"pids": {"limit": 10}}
    ended = bench.run(limited)
    assert ended.code != 0
    assert "can't fork" in ended.out + ended.err
    assert "unreachable" not in ended.out
    assert "unreachable" in bench.run(bench.shell(script)).out


def test_yes_into_head_ends(bench) -> None:
    assert bench.output("yes | head -1") == "y\n"


def test_a_program_starts_with_clean_signals_descriptors_and_umask(bench) -> None:
    status = bench.run(bench.spec("grep", "^Sig[BIC]", "/proc/self/status")).out
    assert {line.split()[1] for line in status.splitlines()} == {"0" * 16}
    # The fourth is the directory that ls reads.
    assert bench.run(bench.spec("ls", "/proc/self/fd")).out.split() == ["0", "1", "2", "3"]
    assert bench.output("umask") == "0022\n"
    assert bench.run(bench.spec("env")).out.split() == ["PATH=/bin:/usr/bin", "TERM=xterm"]


def test_a_program_has_the_null_device_as_input_unless_asked_otherwise(bench) -> None:
    ended = bench.run(bench.spec("readlink", "-f", "/proc/self/fd/0"))
    assert (ended.code, ended.out) == (0, "/dev/null\n")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_starters_umask_and_ignored_signals_do_not_show(make_bench, in_child, umask: int) -> None:
    """As after `nohup minidock daemon` with an unusual umask."""

    def body() -> list[str]:
        os.umask(umask)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        spawner = Spawner.start()
        try:
            bench = make_bench(spawner)
            status = bench.run(bench.spec("grep", "^Sig[BI]", "/proc/self/status"))
            made = bench.spec("stat", "-c", "%a", "/dev", "/dev/null", "/dev/shm", "/tmp/made/here")
            made["mounts"] = [
                *made["mounts"],
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/tmp/made/here/x", "type": "tmpfs", "source": "tmpfs"},
            ]
            modes = bench.run(made)
            bench.close()
            bench.containers.clear()
        finally:
            spawner.close()
        return [status.out, modes.out]

    status, modes = in_child(body)
    assert {line.split()[1] for line in status.splitlines()} == {"0" * 16}
    assert modes.split() == ["755", "666", "1777", "755"]


def test_the_process_before_exec_is_a_sealed_copy_of_python(spawner) -> None:
    executable = f"/proc/{spawner.pid}/exe"
    assert os.readlink(executable).startswith("/memfd:minidock-python")
    descriptor = os.open(executable, os.O_RDONLY)
    try:
        assert process.seals(descriptor) == 0b1111  # SEAL, SHRINK, GROW, WRITE
    finally:
        os.close(descriptor)
    with pytest.raises(OSError):
        os.open(executable, os.O_WRONLY)


def test_a_container_cannot_exec_the_engines_python(bench) -> None:
    with pytest.raises(StartFailed):
        bench.run(bench.spec("/proc/self/exe", "-c", "print(1)"))


def test_a_big_environment_arrives(bench) -> None:
    environment = ["PATH=/bin"] + [f"V{number}={'x' * 100_000}" for number in range(15)]
    ended = bench.run(bench.shell("echo ${#V0} ${#V14}", process_env=environment))
    assert ended.out == "100000 100000\n"


def test_an_environment_beyond_the_kernels_limit_is_an_error(bench) -> None:
    environment = ["PATH=/bin"] + [f"V{number}={'x' * 100_000}" for number in range(40)]
    with pytest.raises(StartFailed, match="argument list too long"):
        bench.run(bench.spec("true", process_env=environment))


def test_text_that_is_not_ascii_arrives_unchanged(bench) -> None:
    environment = ["V=日本", "PATH=/bin"]
    ended = bench.run(bench.spec("sh", "-c", "echo $1 $V", "sh", "grüße ☃", process_env=environment))
    assert ended.out == "grüße ☃ 日本\n"


def test_kill_9_of_the_spawner_leaves_containers_running_and_reachable(make_bench) -> None:
    spawner = Spawner.start()
    bench = make_bench(spawner)
    running = bench.launch(bench.shell("read x; exit $x"), stdin="keep")
    os.kill(spawner.pid, signal.SIGKILL)
    os.waitpid(spawner.pid, 0)
    first = running.shim
    assert not process.has_exited(first.pidfd)
    found = Shim.reconnect(running.socket_directory)
    assert (found.pid, found.start_time, found.shim_pid) == (first.pid, first.start_time, first.shim_pid)
    running.shim = found
    client = running.attach(stdin=True)
    client.send(b"9\n")
    assert running.event("exit")["exit_code"] == 9
    first.close()
    with pytest.raises(Exception, match="spawner"):
        bench.launch(bench.spec("true"))


def test_two_listeners_both_hear_of_the_end(bench) -> None:
    running = bench.launch(bench.shell("read x"), stdin="keep")
    second = Shim.reconnect(running.socket_directory)
    running.attach(stdin=True).send(b"\n")
    assert running.event("exit")["exit_code"] == 0
    assert second.read_event()["event"] == "exit"
    assert second.read_event() is None
    second.close()


def test_reconnecting_while_the_shim_drains_still_brings_the_exit(bench) -> None:
    """Init is reaped, a process outside of its cgroup still holds the pipe: the shim waits up to 2 s."""
    running, holder = draining(bench)
    found = Shim.reconnect(running.socket_directory)
    assert found.pid == running.pid
    assert found.read_event()["event"] == "exit"
    found.close()
    os.kill(holder, signal.SIGKILL)


def draining(bench):
    """Return a container whose init has ended but whose output is held open by a process we moved out."""
    spec = bench.shell("sleep 1000 & echo $!; read x")
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    client = bench.make_peer(framed=False, stdin=True)
    running = bench.launch(spec, client, stdin="keep")
    holder = int(client.wait_for(b"\n"))
    group = cgroups.at(f"{bench.parent}/elsewhere")
    group.create(exist_ok=True)
    group.join(holder)
    client.send(b"\n")
    eventually(lambda: not os.path.exists(f"/proc/{running.pid}"), "init was not reaped")
    return running, holder


def test_a_directory_that_is_gone_does_not_keep_the_shim_from_its_end(bench) -> None:
    running = bench.launch(bench.shell("read x; exit 5"), stdin="keep")
    client = running.attach(stdin=True)
    shutil.rmtree(running.directory)
    client.send(b"\n")
    assert running.event("exit")["exit_code"] == 5
    running.wait_for_shim()


def test_a_full_disk_costs_log_lines_but_not_the_container(bench) -> None:
    """/dev/full takes the place of the log file: every write fails with ENOSPC."""
    ended = bench.run(bench.shell("echo one; echo two; exit 4"), log=LogOptions("json-file", "/dev/full"))
    assert (ended.code, ended.out) == (4, "one\ntwo\n")


def test_an_exit_json_that_cannot_be_written_is_told_in_the_event(bench) -> None:
    running = bench.launch(bench.shell("read x; exit 4"), stdin="keep")
    client = running.attach(stdin=True)
    os.rename(running.directory, running.directory + "-moved")
    Path(running.directory).write_text("a file is in the directory's place")
    client.send(b"\n")
    event = running.event("exit")
    assert event["exit_code"] == 4
    assert "exit.json" in event["error"]
    running.wait_for_shim()
    os.unlink(running.directory)
    os.rename(running.directory + "-moved", running.directory)
    for name in os.listdir(running.socket_directory):
        os.unlink(os.path.join(running.socket_directory, name))
    os.rmdir(running.socket_directory)


def test_a_stuck_client_does_not_keep_the_next_run_waiting(bench, peer) -> None:
    """The old shim still waits for its client when the container starts again in the same directory."""
    deaf = peer(framed=False, reading=False)
    script = f"head -c 3000000 /dev/zero & sleep {0.5 * TIME_SCALE}; kill -9 $!; exit 3"
    spec = bench.shell(script)
    first = bench.launch(spec, deaf)
    assert first.event("exit")["exit_code"] == 3
    eventually(lambda: not os.path.exists(first.socket_directory), "the directory is kept", seconds=5)
    assert not process.has_exited(first.shim.pidfd)
    deaf.start_reading()
    first.wait_for_shim()
    deaf.wait()


def test_the_shim_closes_what_a_failed_exec_brought(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    with pytest.raises(StartFailed):
        running.execute("/missing")
    before = descriptors(running.shim.shim_pid)
    for _ in range(5):
        with pytest.raises(StartFailed):
            running.execute("/missing", stdin=b"x")
        assert running.execute("true").code == 0
        running.attach().close()
    eventually(
        lambda: len(descriptors(running.shim.shim_pid)) <= len(before),
        f"{before} became {descriptors(running.shim.shim_pid)}",
    )


def test_a_failed_exec_closes_its_client(bench, peer) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    with pytest.raises(StartFailed):
        running.execute("/missing", stdin=b"x")
    running.peers[-1].wait()


def test_the_shim_of_a_running_container_keeps_few_descriptors(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"), seccomp=b"")
    # What it reports failures by, it closes when it has reported the start.
    kept: Callable[[], list[str]] = lambda: sorted(descriptors(running.shim.shim_pid).values())  # noqa: E731
    eventually(lambda: len(kept()) <= 12, f"it keeps {kept()}", seconds=5)
    assert not [name for name in kept() if name.startswith("/memfd:")], kept()


def test_a_daemon_that_left_costs_no_descriptor(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    before = len(descriptors(running.shim.shim_pid))
    for _ in range(10):
        Shim.reconnect(running.socket_directory).close()
    eventually(lambda: len(descriptors(running.shim.shim_pid)) <= before, "left daemons are kept")


def test_rubbish_on_the_control_socket_does_not_end_the_shim(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    nameless = b'{"op": "attach", "descriptors": ["a"]}'
    for rubbish in (b"{", b"[]", b"null", b"@", b"\xff\xfe", b'{"op": 5}', b'{"op": []}', nameless):
        channel = protocol.connect(running.socket_directory, protocol.CONTROL_SOCKET, 5)
        channel.send(rubbish)
        protocol.receive(channel)
        channel.close()
    protocol.connect(running.socket_directory, protocol.CONTROL_SOCKET, 5).close()
    assert running.execute("true").code == 0


def test_the_root_descriptor_is_the_containers_root_even_after_its_program_chroots(bench) -> None:
    running = bench.launch(bench.shell("chroot /home/user /bin/true; sleep 1000"))
    descriptor = running.shim.root_descriptor()
    try:
        assert "busybox" in os.listdir(f"/proc/self/fd/{descriptor}/bin")
    finally:
        os.close(descriptor)


def test_requests_to_a_container_that_ended_are_a_conflict(bench) -> None:
    running = bench.launch(bench.shell("exit 0"))
    running.wait_for_shim()
    with pytest.raises(Conflict, match="not running"):
        running.execute("true")
    with pytest.raises(OSError):
        Shim.reconnect(running.socket_directory)


def test_with_init_signals_are_forwarded_and_orphans_reaped(bench) -> None:
    script = "trap 'echo got; exit 6' TERM; (sleep 0.05 & echo orphan $!); while :; do sleep 0.05; done"
    client = bench.make_peer(framed=False)
    running = bench.launch(bench.shell(script), client, init=True)
    orphan = client.wait_for(b"\n").split()[1].decode()
    eventually(lambda: running.execute("test", "-e", f"/proc/{orphan}").code == 1, "the orphan is a zombie")
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait().code == 6
    assert b"got" in client.data


def test_with_init_the_program_is_not_pid_1_and_a_default_signal_kills_it(bench) -> None:
    assert bench.run(bench.shell("echo $$"), init=True).out != "1\n"
    assert bench.run(bench.shell("echo $$")).out == "1\n"
    running = bench.launch(bench.spec("sleep", "1000"), init=True)
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait().code == 143


def test_init_as_pid_1_is_called_as_dockers(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"), init=True)
    assert (
        Path(f"/proc/{running.pid}/cmdline").read_bytes().rstrip(b"\0") == b"/sbin/docker-init -- sleep 1000"
    )
    assert Path(f"/proc/{running.pid}/comm").read_text() == "docker-init\n"
    long = bench.launch(bench.spec("sh", "-c", "sleep 1000; :", "x" * 100_000), init=True)
    shown = Path(f"/proc/{long.pid}/cmdline").read_bytes().rstrip(b"\0")
    assert shown.startswith(b"/sbin/docker-init -- sh -c sleep 1000; : xxx")
    assert set(shown[44:]) == set(b"x")


def test_init_as_pid_1_holds_no_descriptors(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"), init=True)
    assert running.execute("ls", "/proc/1/fd").out == ""


@pytest.mark.soak(200)
def test_launches_leave_nothing(bench, rounds: int, cgroup_parent: str) -> None:
    bench.run(bench.shell("true"))
    bench.containers[-1].wait_for_shim()

    def view() -> tuple[object, ...]:
        children = Path(f"/proc/{bench.spawner.pid}/task/{bench.spawner.pid}/children").read_text().split()
        roots = {os.path.dirname(path) for path in cgroups.at(f"{cgroup_parent}/x").paths().values()}
        return (
            len(os.listdir("/proc/self/fd")),
            sorted(descriptors(bench.spawner.pid).values()),
            Path("/proc/self/mountinfo").read_text(),
            [entry.path for root in roots for entry in os.scandir(root) if entry.is_dir()],
            children,
        )

    before = view()
    for number in range(rounds):
        if number % 10 == 9:
            with pytest.raises(StartFailed):
                bench.run(bench.spec("/missing"))
            continue
        assert bench.run(bench.shell(f"echo {number}")).out == f"{number}\n"
        ended = bench.containers.pop()
        ended.wait_for_shim()
        ended.end()
    eventually(lambda: not view()[4], "shims are left")
    assert view() == before
