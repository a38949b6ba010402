"""One container in the namespaces of another, or of the host."""

import os

import pytest

from minidock.engine import containers, lifecycle
from minidock.errors import MinidockError
from tests.engine.conftest import Bench


def namespace(bench: Bench, identifier: str, name: str) -> int:
    pid = containers.find(bench.engine, identifier).state.pid
    return os.stat(f"/proc/{pid}/ns/{name}").st_ino


def test_a_shared_pid_namespace_shows_both_and_only_both(bench: Bench) -> None:
    donor = bench.start("sleep", "607")
    code, output = bench.run("sh", "-c", "ps; kill -0 1", pid_mode=f"container:{donor}")
    assert code == 0
    assert "sleep 607" in output
    guest = bench.start("sleep", "600", pid_mode=f"container:{donor}")
    assert namespace(bench, guest, "pid") == namespace(bench, donor, "pid")
    assert namespace(bench, guest, "mnt") != namespace(bench, donor, "mnt")
    lifecycle.remove(bench.engine, donor, force=True)  # the end of pid 1 is the end of the namespace
    assert bench.wait(guest).status_code == 137


def test_shared_memory_and_queues_are_shared_with_the_ipc_namespace(bench: Bench) -> None:
    donor = bench.start("sh", "-c", "echo secret > /dev/shm/x; sleep 600", ipc_mode="shareable")
    code, output = bench.run(
        "sh", "-c", "while [ ! -s /dev/shm/x ]; do :; done; cat /dev/shm/x", ipc_mode=f"container:{donor}"
    )
    assert (code, output) == (0, "secret\n")
    guest = bench.start("sleep", "600", ipc_mode=f"container:{donor}")
    assert namespace(bench, guest, "ipc") == namespace(bench, donor, "ipc")


def test_a_private_ipc_namespace_is_not_shared(bench: Bench) -> None:
    donor = bench.start("sleep", "600")
    guest = bench.create("true", ipc_mode=f"container:{donor}")
    with pytest.raises(MinidockError, match="non-shareable IPC"):
        lifecycle.start(bench.engine, guest)


@pytest.mark.parametrize("mode", ["pid_mode", "ipc_mode"])
def test_a_partner_that_does_not_run_is_refused(bench: Bench, mode: str) -> None:
    donor = bench.create("true")
    guest = bench.create("true", **{mode: f"container:{donor}"})
    with pytest.raises(MinidockError, match="non running container"):
        lifecycle.start(bench.engine, guest)


@pytest.mark.parametrize(("mode", "name"), [("pid_mode", "pid"), ("ipc_mode", "ipc"), ("uts_mode", "uts")])
def test_the_hosts_namespace_is_the_hosts(bench: Bench, mode: str, name: str) -> None:
    identifier = bench.start("sleep", "600", **{mode: "host"})
    assert namespace(bench, identifier, name) == os.stat(f"/proc/self/ns/{name}").st_ino
    own = bench.start("sleep", "600")
    assert namespace(bench, own, name) != os.stat(f"/proc/self/ns/{name}").st_ino
