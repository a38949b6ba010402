"""The engine as systemd's unit: its delegated cgroup, restarts under running containers, and a reboot."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

ENGINE = "DOCKER_HOST=unix:///run/minidock/minidock.sock"
PARENT = "/system.slice/minidock-containers.service"


def docker(vm: "Machine", arguments: str, check: bool = True) -> str:
    """Run Debian's own docker command line against the engine and return what it prints."""
    return vm.run(f"{ENGINE} docker {arguments}", check=check).stdout.strip()


def state(vm: "Machine", name: str) -> dict[str, Any]:
    return dict(json.loads(docker(vm, f"inspect --format '{{{{json .State}}}}' {name}")))


@pytest.fixture(scope="module")
def service(vm: "Machine") -> Iterator["Machine"]:
    """The machine with the engine as an enabled unit, and no container in it afterwards."""
    vm.run("sh /vagrant/tests/vm/guest.sh units /vagrant")
    vm.run("minidock run --rm hostbox true")  # makes the image
    yield vm
    vm.run(f"export {ENGINE}; docker ps -aq | xargs -r docker rm -f", check=False)
    vm.run("systemctl disable --now minidock.service", check=False)


def test_a_container_lives_below_the_delegated_cgroup_with_its_limits(service: "Machine") -> None:
    docker(service, "run -d --name placed -m 64m --pids-limit 30 --cpus 0.5 hostbox sleep 10000")
    pid = state(service, "placed")["Pid"]
    (line,) = service.run(f"cat /proc/{pid}/cgroup").stdout.splitlines()
    assert line.startswith(f"0::{PARENT}/")
    directory = "/sys/fs/cgroup" + line.removeprefix("0::")
    read = service.run(f"cd {directory} && cat memory.max pids.max cpu.max").stdout.split("\n")
    assert read[:3] == [str(64 << 20), "30", "50000 100000"]
    assert service.run("systemctl show -P Delegate minidock-containers").stdout.strip() == "yes"
    engine = service.run("cat /proc/$(systemctl show -P MainPID minidock)/cgroup").stdout.strip()
    assert engine == f"0::{PARENT}/engine"
    assert int(service.run("systemctl show -P MainPID minidock").stdout) > 0


def test_a_restart_of_the_unit_stops_no_container(service: "Machine") -> None:
    docker(service, "run -d --name stays hostbox sh -c 'while :; do date; sleep 1; done'")
    before = state(service, "stays")
    first = service.run("systemctl show -P MainPID minidock").stdout
    service.run("systemctl restart minidock")
    assert service.run("systemctl show -P MainPID minidock").stdout != first
    after = state(service, "stays")
    assert (after["Running"], after["Pid"]) == (True, before["Pid"])
    lines = len(docker(service, "logs stays").splitlines())
    service.run(f"for i in 1 2 3 4 5 6 7 8 9; do sleep 1; {ENGINE} docker logs stays | wc -l; done")
    assert len(docker(service, "logs stays").splitlines()) > lines
    assert docker(service, "stop -t 1 stays") == "stays"


def test_a_killed_engine_comes_back_and_knows_its_containers(service: "Machine") -> None:
    docker(service, "run -d --name survives hostbox sleep 10000")
    before = state(service, "survives")["Pid"]
    first = service.run("systemctl show -P MainPID minidock").stdout.strip()
    service.run(f"kill -KILL {first}")
    service.run(
        f"for i in $(seq 120); do [ $(systemctl show -P MainPID minidock) != {first} ] && "
        "systemctl is-active -q minidock && exit 0; sleep 1; done; exit 1"
    )
    assert state(service, "survives")["Pid"] == before


def test_the_cgroups_unit_is_not_stopped_by_hand(service: "Machine") -> None:
    docker(service, "run -d --name limited -m 64m hostbox sleep 10000")
    answer = service.run("systemctl stop minidock-containers", check=False)
    assert answer.returncode != 0
    assert "refused" in answer.stderr
    pid = state(service, "limited")["Pid"]
    path = service.run(f"cut -d: -f3 /proc/{pid}/cgroup").stdout.strip()
    assert service.run(f"cat /sys/fs/cgroup{path}/memory.max").stdout.strip() == str(64 << 20)


def test_reloading_systemd_leaves_the_limits_alone(service: "Machine") -> None:
    service.run("systemctl daemon-reload")
    files = service.run(f"cat /sys/fs/cgroup{PARENT}/cgroup.subtree_control").stdout.split()
    assert {"cpu", "io", "memory", "pids"} <= set(files)


def test_after_a_reboot_nothing_pretends_to_run(service: "Machine") -> None:
    docker(service, "run -d --name running hostbox sleep 10000")
    docker(service, "run --name ended hostbox sh -c 'exit 3'", check=False)
    docker(service, "create --name created hostbox echo later")
    service.reboot()
    service.run("systemctl is-active --wait --quiet minidock || systemctl start minidock")  # it was enabled
    found = {name: state(service, name) for name in ("running", "ended", "created")}
    assert {name: (one["Status"], one["ExitCode"]) for name, one in found.items()} == {
        "running": ("exited", 255),
        "ended": ("exited", 3),
        "created": ("created", 0),
    }
    assert docker(service, "start -a created") == "later"
    assert docker(service, "start running") == "running"
    assert state(service, "running")["Running"] is True
