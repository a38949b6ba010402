"""The engine as systemd's unit: its delegated cgroup, restarts under running containers, and a reboot."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.vm.conftest import ENGINE, docker

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

PARENT = "/system.slice/minidock-containers.service"


def state(vm: "Machine", name: str) -> dict[str, Any]:
    return dict(json.loads(docker(vm, f"inspect --format '{{{{json .State}}}}' {name}")))


def until(vm: "Machine", condition: str) -> None:
    """Wait for a shell condition to hold in the machine."""
    vm.run(f"for i in $(seq 300); do {condition} && exit 0; sleep 1; done; exit 1")


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
    until(service, f"[ $({ENGINE} docker logs stays | wc -l) -gt {lines} ]")
    assert docker(service, "stop -t 1 stays") == "stays"


def test_a_killed_engine_comes_back_and_knows_its_containers(service: "Machine") -> None:
    docker(service, "run -d --name survives hostbox sleep 10000")
    before = state(service, "survives")["Pid"]
    first = service.run("systemctl show -P MainPID minidock").stdout.strip()
    service.run(f"kill -KILL {first}")
    until(service, f"[ $(systemctl show -P MainPID minidock) != {first} ] && systemctl is-active -q minidock")
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


def test_after_a_reboot_nothing_pretends_to_run_and_policies_decide_what_does(service: "Machine") -> None:
    policies = {"always": "always", "stopped-always": "always", "unless": "unless-stopped"}
    policies |= {"stopped-unless": "unless-stopped", "failed": "on-failure", "none": "no"}
    for name, policy in policies.items():
        docker(service, f"run -d --name {name} --restart {policy} hostbox sleep 10000")
    docker(service, "stop -t 0 stopped-always stopped-unless")
    docker(service, "run --name ended hostbox sh -c 'exit 3'", check=False)
    docker(service, "create --name created hostbox echo later")
    service.reboot()
    until(service, "systemctl is-active -q minidock")  # it was enabled
    until(service, f'[ -z "$({ENGINE} docker ps -q --filter status=restarting)" ]')
    found = {name: state(service, name) for name in (*policies, "ended", "created")}
    assert {name: (one["Status"], one["ExitCode"]) for name, one in found.items()} == {
        "always": ("running", 0),
        "stopped-always": ("running", 0),  # only unless-stopped remembers that it was stopped by hand
        "unless": ("running", 0),
        "stopped-unless": ("exited", 137),
        "failed": ("running", 0),
        "none": ("exited", 255),
        "ended": ("exited", 3),
        "created": ("created", 0),
    }
    assert docker(service, "start -a created") == "later"
    assert docker(service, "start none") == "none"
    assert state(service, "none")["Running"] is True
