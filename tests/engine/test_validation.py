"""Requests that make no sense, that are not served yet, and that have no effect."""

import dataclasses
from typing import Any

import pytest

from minidock.engine import host, log_drivers, validation
from minidock.engine.model import (
    ContainerConfig,
    DeviceRequest,
    EndpointConfig,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    PortBinding,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
)
from minidock.errors import InvalidParameter, Unsupported
from minidock.kernel.cgroups import Hierarchy

MACHINE = host.examine()
CONFIG_MEMBERS = set(ContainerConfig.__struct_fields__)


def check(machine: host.Host = MACHINE, **members: Any) -> list[str]:
    config = ContainerConfig(**{name: value for name, value in members.items() if name in CONFIG_MEMBERS})
    wanted = HostConfig(**{name: value for name, value in members.items() if name not in CONFIG_MEMBERS})
    networking = NetworkingConfig(endpoints_config={wanted.network_mode or "default": None})
    return validation.check(config, wanted, networking, machine)


def test_what_the_cli_sends_for_a_plain_run_gives_no_warning() -> None:
    assert check(network_mode="default", memory_swappiness=-1, pids_limit=0, oom_kill_disable=False) == []


@pytest.mark.parametrize(("version", "discarded"), [(1, False), (2, True)])
def test_what_only_cgroups_version_1_can_do_is_discarded_with_dockers_warning(
    version: int, discarded: bool
) -> None:
    machine = dataclasses.replace(MACHINE, cgroups=Hierarchy(version, {}))
    found = check(machine, memory=1 << 26, memory_swappiness=10, oom_kill_disable=True)
    assert [text.endswith("discarded.") for text in found] == ([True, True] if discarded else [])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"memory": 4096}, "Minimum memory limit allowed is 6MB"),
        ({"memory": 1 << 26, "memory_swap": 1 << 25}, "Minimum memoryswap limit should be larger"),
        ({"memory_swap": 1 << 25}, "You should always set the Memory limit when using Memoryswap limit"),
        ({"memory_swappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"memory": 1 << 26, "memory_reservation": 1 << 27}, "can not be less than memory reservation"),
        ({"nano_cpus": 10**12}, "range of CPUs is from 0.01 to"),
        ({"nano_cpus": 1, "cpu_quota": 5000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period": 10}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms"),
        ({"cpu_shares": -1}, "invalid CPU shares"),
        ({"cpuset_cpus": "0-99999"}, "Requested CPUs are not available"),
        ({"cpuset_mems": "9"}, "Requested memory nodes are not available - requested 9"),
        (
            {"restart_policy": RestartPolicy(name="on-failure", maximum_retry_count=-1)},
            "maximum retry count cannot be negative",
        ),
        ({"log_config": LogConfig(config={"mode": "nosuch"})}, "logging mode not supported: nosuch"),
        ({"cpuset_cpus": "a"}, "Invalid value a for cpuset cpus"),
        ({"cpuset_mems": "0;1"}, "for cpuset mems"),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"oom_score_adj": 1001}, "range for oom score adj"),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        ({"ulimits": [Ulimit(name="magic")]}, "invalid ulimit type: magic"),
        ({"ulimits": [Ulimit(name="nofile", soft=2, hard=1)]}, "ulimit soft limit must be less"),
        ({"restart_policy": RestartPolicy(name="sometimes")}, "unknown policy 'sometimes'"),
        ({"restart_policy": RestartPolicy(name="always"), "auto_remove": True}, "can't create 'AutoRemove'"),
        ({"restart_policy": RestartPolicy(name="always", maximum_retry_count=1)}, "maximum retry count"),
        ({"log_config": LogConfig(type="magic")}, "error looking up logging plugin magic"),
        ({"log_config": LogConfig(config={"tag": "x"})}, "unknown log opt 'tag'"),
        ({"log_config": LogConfig(config={"max-size": "ten"})}, "invalid size: 'ten'"),
        ({"log_config": LogConfig(config={"max-file": "0"})}, "max-file cannot be less than 1"),
        ({"working_dir": "srv"}, "the working directory 'srv' is invalid, it needs to be an absolute path"),
        ({"env": ["=x"]}, "invalid environment variable: =x"),
        ({"hostname": "a\nb"}, "invalid hostname"),
        ({"stop_signal": "FOO"}, "Invalid signal: FOO"),
        ({"exposed_ports": {"http": {}}}, "invalid port specification"),
        ({"uts_mode": "host", "hostname": "x"}, "conflicting options: hostname and the UTS mode"),
        ({"pid_mode": "magic"}, "invalid PID mode: magic"),
        ({"runtime": "magic"}, "unknown or invalid runtime name: magic"),
        ({"isolation": "hyperv"}, "invalid isolation 'hyperv' on linux"),
        ({"cgroup_parent": "/a/../../b"}, "invalid cgroup parent"),
        ({"extra_hosts": ["x"]}, 'bad format for add-host: "x"'),
        ({"security_opt": ["x"]}, "invalid --security-opt"),
        ({"cap_drop": ["x"]}, "invalid CapDrop: unknown capability"),
        ({"sysctls": {"kernel.core_pattern": "x"}}, "not in a separate kernel namespace"),
        ({"device_cgroup_rules": ["x"]}, "invalid device cgroup rule format"),
        ({"mac_address": "02:42"}, "invalid MAC address: 02:42"),
        ({"network_mode": "a/b"}, "invalid network mode"),
        (
            {"network_mode": "container:x", "dns": ["1.1.1.1"]},
            "conflicting options: dns and the network mode",
        ),
        (
            {"network_mode": "container:x", "publish_all_ports": True},
            "port publishing and the container type",
        ),
        ({"port_bindings": {"80/tcp": [PortBinding(host_port="9-8")]}}, "invalid port specification: '9-8'"),
    ],
)
def test_what_is_wrong_is_refused_in_dockers_words(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        check(**members)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"storage_opt": {"size": "1g"}}, "--storage-opt is not supported yet"),
        ({"log_config": LogConfig(type="syslog")}, "log driver 'syslog' is not supported"),
        ({"device_requests": [DeviceRequest(capabilities=[["gpu"]])]}, r"capabilities: \[\[gpu\]\]"),
        ({"blkio_device_read_bps": [ThrottleDevice(path="/dev/sda", rate=1)]}, "--device-read-bps"),
    ],
)
def test_what_is_not_served_is_refused_by_name(members: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        check(**members)


def test_an_alias_needs_a_network_of_the_user() -> None:
    asked = EndpointConfig(aliases=["db"])
    in_mine = NetworkingConfig(endpoints_config={"mine": asked})
    assert validation.check(ContainerConfig(), HostConfig(network_mode="mine"), in_mine, MACHINE) == []
    in_default = NetworkingConfig(endpoints_config={"bridge": asked})
    with pytest.raises(InvalidParameter, match="only for containers in user defined networks"):
        validation.check(ContainerConfig(), HostConfig(), in_default, MACHINE)


@pytest.mark.parametrize(
    ("mode", "networks", "message"),
    [
        ("none", ["none", "bridge"], "one of the networks in private .none. mode"),
        ("bridge", ["bridge", "none"], "one of the networks in private .none. mode"),
        ("mine", ["mine", "host"], "sharing network namespace with another container or host"),
        ("host", ["mine"], "sharing network namespace with another container or host"),
        ("container:x", ["mine"], "sharing network namespace with another container or host"),
    ],
)
def test_a_container_without_a_network_of_its_own_joins_none(
    mode: str, networks: list[str], message: str
) -> None:
    networking = NetworkingConfig(endpoints_config=dict.fromkeys(networks))
    with pytest.raises(InvalidParameter, match=message):
        validation.check(ContainerConfig(), HostConfig(network_mode=mode), networking, MACHINE)


@pytest.mark.parametrize(
    ("mode", "networks"),
    [
        ("none", ["none"]),
        ("host", ["host"]),
        ("host", []),
        ("container:x", ["container:x"]),
        ("", ["a", "b"]),
    ],
)
def test_a_mode_is_its_own_only_network(mode: str, networks: list[str]) -> None:
    networking = NetworkingConfig(endpoints_config=dict.fromkeys(networks))
    assert validation.check(ContainerConfig(), HostConfig(network_mode=mode), networking, MACHINE) == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"port_bindings": {"80/tcp": None}, "network_mode": "host"}, "discarded when using host network"),
        (
            {"oom_kill_disable": True, "machine": dataclasses.replace(MACHINE, cgroups=Hierarchy(1, {}))},
            "OOM killer is disabled",
        ),
        ({"kernel_memory": 1 << 26}, "kernel memory limit is deprecated"),
    ],
)
def test_what_has_no_effect_gives_one_warning(members: dict[str, Any], message: str) -> None:
    (warning,) = check(**members)
    assert message in warning


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (10_000_000, 3)),
        ({"max-size": "5k"}, (5_000, 3)),
        ({"max-size": "1.5m", "max-file": "2"}, (1_500_000, 2)),
        ({"max-size": "-1"}, (0, 3)),
        ({"max-size": "100"}, (100, 3)),
    ],
)
def test_log_options_are_sizes_and_counts(options: dict[str, str], expected: tuple[int, int]) -> None:
    assert log_drivers.options(HostConfig(log_config=LogConfig(config=options))) == expected
