"""minidock.runtime.spawner and client: functions swapped before the first start, and failures at the door."""

import os
import threading
from pathlib import Path

import pytest

from minidock.errors import MinidockError, StartFailed
from minidock.runtime import protocol
from minidock.runtime.client import Shim, Spawner
from minidock.runtime.requests import LaunchRequest


def test_a_replaced_function_is_called_wherever_it_was_known(make_bench, tmp_path: Path) -> None:
    (tmp_path / "piece.py").write_text("def search(name, path):\n    return '/bin/busybox'\n")
    (tmp_path / "limits.py").write_text(
        "import socket\n\ndef set_names(spec):\n    socket.sethostname('learner')\n"
    )
    spawner = Spawner.start(
        [
            ("minidock.runtime.program", "search", str(tmp_path / "piece.py")),
            ("minidock.runtime.init", "set_names", str(tmp_path / "limits.py")),
        ]
    )
    try:
        bench = make_bench(spawner)
        assert bench.run(bench.spec("echo", "yes", process_env=["PATH=/none"])).out == "yes\n"
        assert bench.run(bench.spec("hostname")).out == "learner\n"
        bench.close()
        bench.containers.clear()
    finally:
        spawner.close()


def test_without_a_replacement_the_original_is_called(bench) -> None:
    with pytest.raises(StartFailed, match="not found"):
        bench.run(bench.spec("echo", "yes", process_env=["PATH=/none"]))
    assert bench.run(bench.spec("hostname")).out == "bench\n"


@pytest.mark.parametrize(
    "replacement",
    [
        ("minidock.runtime.program", "search", "/missing.py"),
        ("minidock.runtime.program", "no_such_function", "piece.py"),
        ("no.such.module", "search", "piece.py"),
    ],
)
def test_a_replacement_that_cannot_be_loaded_is_an_error(
    tmp_path: Path, replacement: tuple[str, str, str]
) -> None:
    (tmp_path / "piece.py").write_text("def search(name, path):\n    return name\n")
    module, function, file = replacement
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MinidockError, match="spawner"):
        Spawner.start([(module, function, str(tmp_path / file))])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_spawner_is_small_single_threaded_and_at_home_in_the_root(spawner) -> None:
    facts = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{spawner.pid}/status").read_text().splitlines()
        if ":" in line
    )
    assert facts["Threads"].strip() == "1"
    assert int(facts["RssAnon"].split()[0]) < 20_000
    assert os.readlink(f"/proc/{spawner.pid}/cwd") == "/"
    assert os.getsid(spawner.pid) == spawner.pid
    heavy = ("pyroute2", "ssl", "asyncio", "subprocess", "libseccomp", "libnftables")
    assert not any(name in Path(f"/proc/{spawner.pid}/maps").read_text() for name in heavy)
    names = Path(f"/proc/{spawner.pid}/environ").read_bytes().split(b"\0")
    assert {name.partition(b"=")[0] for name in names if name} <= {b"PATH", b"LC_CTYPE"}


def test_the_spawner_keeps_nothing_of_who_started_the_daemon() -> None:
    """A pipeline behind `minidock daemon` would otherwise last as long as its last container."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    spawner = Spawner.start()
    try:
        os.close(writing)
        assert os.read(reading, 1) == b""
    finally:
        spawner.close()
        os.close(reading)


def test_the_spawner_ends_with_its_daemon(in_child) -> None:
    def body() -> int:
        return Spawner.start().pid

    pid = in_child(body)
    for _ in range(1000):
        if not os.path.exists(f"/proc/{pid}"):
            return
        threading.Event().wait(0.01)
    raise AssertionError("the spawner outlived its daemon")


def test_threads_may_launch_at_the_same_time(bench) -> None:
    problems: list[object] = []

    def work(number: int) -> None:
        try:
            ended = bench.run(bench.shell(f"echo {number}"))
            if ended.out != f"{number}\n":
                problems.append(ended)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.soak(200)
def test_shims_that_end_at_once_never_end_the_spawner(bench, rounds: int) -> None:
    """Such a shim may be gone, and reaped, before anybody can look at it."""
    for _ in range(rounds):
        request = bench.request(bench.spec("true"))
        broken = LaunchRequest(**{**vars(request), "socket_directory": "/proc/nowhere"})
        with pytest.raises(StartFailed):
            bench.spawner.launch(broken)
    assert bench.run(bench.shell("echo alive")).out == "alive\n"


def test_a_rubbish_message_is_answered_by_a_dead_shim_and_not_by_a_dead_spawner(bench) -> None:
    channel = bench.spawner._channel
    protocol.send(channel, {"op": "launch", "descriptors": []})
    answer = protocol.receive(channel)
    assert answer is not None
    os.close(answer[1][0])
    assert bench.run(bench.shell("echo alive")).out == "alive\n"


def test_reconnecting_to_nothing_is_an_error(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Shim.reconnect(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        Shim.reconnect(str(tmp_path / "missing"))
    assert len(os.listdir("/proc/self/fd")) == before
