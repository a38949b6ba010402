"""The OCI spec of a container: Docker's default, and what each option changes in it."""

from typing import Any

import msgspec
import pytest

from minidock.engine import spec, spec_resources, spec_security
from minidock.engine.model import (
    BindOptions,
    ContainerConfig,
    ContainerRecord,
    DeviceMapping,
    HostConfig,
    Mount,
    NetworkingConfig,
    TmpfsOptions,
    Ulimit,
)
from minidock.engine.mounts import requested
from minidock.engine.users import Identity
from minidock.errors import InvalidParameter, StartFailed, Unsupported
from minidock.kernel import capabilities
from minidock.runtime import bundle


def record(config: dict[str, Any] | None = None, **host: Any) -> ContainerRecord:
    members = {"ipc_mode": "private", "network_mode": "none", "cgroupns_mode": "host", **host}
    return ContainerRecord(
        id="a" * 64, name="web", created="", image="", image_name="", layers=[],
        path="sh", args=["-c", "true"],
        config=ContainerConfig(hostname="box", **(config or {})), host_config=HostConfig(**members),
        networking=NetworkingConfig(), mounts=requested(HostConfig(**members)),
    )  # fmt: skip


def build(config: dict[str, Any] | None = None, **host: Any) -> dict[str, Any]:
    return spec.build(
        record(config, **host), Identity(0, 0, (0,), "/root"), "/data/x", "/root-path", "/minidock/x"
    )


def mounts(built: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["destination"]: entry for entry in built["mounts"]}


def test_the_runtime_understands_every_member() -> None:
    built = build(
        {"tty": True}, memory=1 << 26, console_size=[24, 80], privileged=True, ulimits=[Ulimit(name="core")]
    )
    parsed = bundle.parse(msgspec.json.encode(built))
    assert parsed.process.args == ("sh", "-c", "true")
    assert parsed.linux.resources.memory.limit == 1 << 26
    assert parsed.process.console_size == bundle.Box(24, 80)
    assert parsed.process.rlimits[0].type == "RLIMIT_CORE"
    assert parsed.linux.cgroups_path == "/minidock/x"


def test_the_default_has_exactly_dockers_capabilities() -> None:
    sets = build()["process"]["capabilities"]
    assert capabilities.mask(sets["bounding"]) == 0xA80425FB
    assert sets["bounding"] == sets["effective"] == sets["permitted"]
    assert set(sets) == {"bounding", "effective", "permitted"}  # inheritable and ambient stay empty


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (["NET_ADMIN"], [], {*spec_security.DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"}),
        (["cap_net_admin"], ["all"], {"CAP_NET_ADMIN"}),
        ([], ["ALL"], set()),
        ([], ["CHOWN"], set(spec_security.DEFAULT_CAPABILITIES) - {"CAP_CHOWN"}),
        (["ALL"], ["CHOWN"], set(capabilities.available()) - {"CAP_CHOWN"}),
    ],
)
def test_capabilities_are_added_and_dropped(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert set(spec_security.capability_set(add, drop, privileged=False)) == expected


def test_an_unknown_capability_is_refused_by_its_full_name() -> None:
    with pytest.raises(InvalidParameter, match='invalid CapAdd: unknown capability: "CAP_FLY"'):
        spec_security.capability_set(["fly"], [], False)


def test_the_default_mounts_are_dockers() -> None:
    found = mounts(build())
    assert list(found) == [
        "/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm",
        "/etc/resolv.conf", "/etc/hostname", "/etc/hosts",
    ]  # fmt: skip
    assert "ro" in found["/sys"]["options"]
    assert "ro" in found["/sys/fs/cgroup"]["options"]
    assert "size=67108864" in found["/dev/shm"]["options"]
    assert found["/etc/hosts"]["source"] == "/data/x/hosts"


def test_a_read_only_root_makes_the_fixed_files_read_only_too() -> None:
    built = build(readonly_rootfs=True, binds=["/srv:/srv"])
    assert built["root"]["readonly"] is True
    found = mounts(built)
    readonly = {path for path, entry in found.items() if "ro" in entry["options"]}
    assert readonly == {"/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}


def test_privileged_takes_the_restrictions_away() -> None:
    built = build(privileged=True, masked_paths=[], readonly_paths=[])
    assert set(built["process"]["capabilities"]["bounding"]) == set(capabilities.available())
    assert built["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "ro" not in mounts(built)["/sys"]["options"]
    assert spec_security.seccomp_choice(HostConfig(privileged=True)) == "unconfined"
    assert spec_security.seccomp_choice(HostConfig()) == "builtin"


def test_shared_namespaces_are_left_out() -> None:
    everything = {"mount", "uts", "ipc", "pid", "network"}
    assert {entry["type"] for entry in build()["linux"]["namespaces"]} == everything
    shared = build(uts_mode="host", ipc_mode="host", pid_mode="host", network_mode="host")
    assert {entry["type"] for entry in shared["linux"]["namespaces"]} == {"mount"}
    assert "hostname" not in shared
    assert not shared["linux"]["sysctl"]
    private = build(cgroupns_mode="private")
    assert "cgroup" in {entry["type"] for entry in private["linux"]["namespaces"]}


def test_the_environment_has_dockers_order() -> None:
    env = spec.environment("box", True, ["A=1", "PATH=/mine", "B=2", "A=3", "TERM"], "/root")
    assert env == ["PATH=/mine", "HOSTNAME=box", "A=3", "B=2", "HOME=/root"]


@pytest.mark.parametrize(("given", "path"), [("", "/"), ("/a/../b/", "/b"), ("//x", "/x"), ("/..", "/")])
def test_the_working_directory_is_normalised(given: str, path: str) -> None:
    assert spec.working_directory(given) == path


def test_limits_that_are_not_set_are_left_out() -> None:
    assert spec_resources.limits(HostConfig()) == {}
    assert spec_resources.limits(HostConfig(memory_swappiness=-1, pids_limit=-1)) == {}
    assert spec_resources.limits(HostConfig(memory_swappiness=0)) == {"memory": {"swappiness": 0}}
    assert spec_resources.limits(HostConfig(nano_cpus=500_000_000)) == {
        "cpu": {"quota": 50_000, "period": 100_000}
    }
    assert spec_resources.limits(HostConfig(pids_limit=5, blkio_weight=10)) == {
        "pids": {"limit": 5},
        "blockIO": {"weight": 10},
    }


def test_a_device_is_made_and_allowed_as_asked() -> None:
    host = HostConfig(
        devices=[DeviceMapping(path_on_host="/dev/null", path_in_container="/dev/x", cgroup_permissions="r")]
    )
    nodes, rules = spec_resources.devices(host)
    assert (nodes[0]["path"], nodes[0]["type"], nodes[0]["major"], nodes[0]["minor"]) == ("/dev/x", "c", 1, 3)
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[-1] == {"allow": True, "type": "c", "access": "r", "major": 1, "minor": 3}


def test_a_device_that_is_not_there_fails_the_start() -> None:
    with pytest.raises(
        StartFailed, match='error gathering device information while adding custom device "/dev/none"'
    ):
        spec_resources.devices(HostConfig(devices=[DeviceMapping(path_on_host="/dev/none")]))
    with pytest.raises(StartFailed, match="not a device node"):
        spec_resources.devices(HostConfig(devices=[DeviceMapping(path_on_host="/etc/passwd")]))


@pytest.mark.parametrize("text", ["", "c 1:3", "x 1:3 r", "c 1:3 q", "c a:b r", "a 1:3 rwm", "c 1:3 r\n"])
def test_a_bad_device_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid device cgroup rule format"):
        spec_resources.parse_rule(text)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("kernel.msgmax", True), ("kernel.shm_rmid_forced", True), ("fs.mqueue.msg_max", True),
        ("net.ipv4.ip_forward", True), ("net/ipv4/ip_forward", True), ("kernel.domainname", True),
        ("kernel.core_pattern", False), ("kernel.hostname", False), ("vm.swappiness", False),
        ("net../kernel/core_pattern", False), ("net./../kernel.core_pattern", False), ("net", False),
        ("user.max_user_namespaces", False), ("fs.mqueue", False),
    ],
)  # fmt: skip
def test_only_namespaced_kernel_parameters_are_set(name: str, allowed: bool) -> None:
    host = HostConfig(sysctls={name: "1"})
    if allowed:
        assert spec_security.sysctls(host)[name.replace("/", ".")] == "1"
    else:
        with pytest.raises(InvalidParameter, match="is not in a separate kernel namespace"):
            spec_security.sysctls(host)


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        ("net.core.somaxconn", "network_mode", "host"),
        ("kernel.msgmax", "ipc_mode", "host"),
        ("kernel.domainname", "uts_mode", "host"),
    ],
)
def test_a_parameter_of_a_shared_namespace_is_refused(name: str, member: str, value: str) -> None:
    with pytest.raises(InvalidParameter):
        spec_security.sysctls(HostConfig(sysctls={name: "1"}, **{member: value}))


def test_security_options_are_understood_or_refused() -> None:
    parsed = spec_security.parse_options(
        ["no-new-privileges", "seccomp={}", "apparmor=unconfined", "label=disable"]
    )
    assert (parsed.no_new_privileges, parsed.seccomp) == (True, "{}")
    assert spec_security.parse_options(["no-new-privileges:false"]).no_new_privileges is False
    assert spec_security.parse_options(["seccomp:unconfined"]).seccomp == "unconfined"
    for option in ("apparmor=docker-default", "label=type:x"):
        with pytest.raises(Unsupported, match=option):
            spec_security.parse_options([option])
    for option in ("magic=1", "no-new-privileges=maybe", ""):
        with pytest.raises(InvalidParameter, match="invalid --security-opt"):
            spec_security.parse_options([option])


def test_binds_become_mounts() -> None:
    found = mounts(build(binds=["/srv/x/:/a", "/srv/y:/b/../c:ro,rslave"]))
    assert found["/a"]["options"] == ["rbind", "rprivate"]
    assert found["/a"]["source"] == "/srv/x"
    assert found["/c"]["options"] == ["rbind", "rslave", "ro", "rro"]


def test_a_mount_of_the_user_replaces_a_fixed_one_and_deep_ones_come_last() -> None:
    built = build(binds=["/srv:/a/b/c", "/srv:/a", "/srv:/etc/hosts"], tmpfs={"/dev/shm": ""})
    paths = [entry["destination"] for entry in built["mounts"]]
    assert len(paths) == len(set(paths))
    assert paths[-4:] == ["/a", "/etc/hosts", "/dev/shm", "/a/b/c"]


def test_a_tmpfs_is_safe_unless_said_otherwise() -> None:
    options = TmpfsOptions(size_bytes=4096, mode=0o1777)
    wanted = [
        Mount(type="tmpfs", target="/q", read_only=True, tmpfs_options=options),
        Mount(type="bind", source="/srv", target="/b", bind_options=BindOptions(non_recursive=True)),
    ]
    found = mounts(build(tmpfs={"/t": "size=1m,exec"}, mounts=wanted))
    assert found["/t"]["options"] == ["noexec", "nosuid", "nodev", "size=1m", "exec"]
    assert found["/q"]["options"] == ["noexec", "nosuid", "nodev", "size=4096", "mode=1777", "ro"]
    assert found["/b"]["options"] == ["bind", "rprivate"]
