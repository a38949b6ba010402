"""minidock.runtime.bundle: which config.json is understood, and how a wrong one is refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import InvalidParameter, Unsupported
from minidock.runtime import bundle

MOUNT, UTS, IPC, NETWORK = ({"type": name} for name in ("mount", "uts", "ipc", "network"))


def parse(**members: Any) -> bundle.Spec:
    return bundle.parse(json.dumps(members).encode())


def test_every_member_is_optional() -> None:
    spec = bundle.parse(b"{}")
    assert (spec.root, spec.process.args, spec.process.cwd, spec.linux.namespaces) == (None, (), "/", ())


def test_unknown_members_are_ignored() -> None:
    assert parse(windows={}, process={"args": ["a"], "future": 1}).process.args == ("a",)


@pytest.mark.oracle("runc")
def test_the_example_of_runc_spec_is_understood(tmp_path: Path) -> None:
    subprocess.run(["/usr/sbin/runc", "spec"], cwd=tmp_path, check=True)
    spec = bundle.load(str(tmp_path))
    assert spec.process.args == ("sh",)
    assert spec.root is not None
    assert spec.root.path == str(tmp_path / "rootfs")
    assert bundle.namespace(spec, "pid") is not None
    assert bundle.namespace(spec, "user") is None


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (b"", "config.json"),
        (b"{", "config.json"),
        (b"[]", "config.json"),
        (b'{"process": {"args": "sh"}}', r"process\.args"),
        (b'{"process": {"user": {"uid": "0"}}}', r"process\.user\.uid"),
        (b'{"linux": {"namespaces": [{}]}}', r"namespaces"),
        (b'{"process": {"args": ["\xff"]}}', "config.json"),
        (b"[" * 100_000, "config.json"),
        (b" " * (bundle.MAXIMUM_SIZE + 1), "bytes"),
    ],
)
def test_a_document_that_is_wrong_is_refused_with_the_members_name(document: bytes, named: str) -> None:
    with pytest.raises(InvalidParameter, match=named):
        bundle.parse(document)


@pytest.mark.parametrize(
    "members",
    [
        {"hooks": {"prestart": [{"path": "/bin/true"}]}},
        {"process": {"apparmorProfile": "docker-default"}},
        {"process": {"selinuxLabel": "x"}},
    ],
)
def test_what_cannot_be_honoured_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        parse(**members)


def test_a_nul_byte_cannot_reach_a_program() -> None:
    with pytest.raises(InvalidParameter, match="NUL"):
        parse(process={"args": ["a\0b"]})


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel.hostname",
        "vm.swappiness",
        "net/../kernel/core_pattern",
        "",
        "net",
        "fs.file-max",
    ],
)
def test_a_sysctl_of_the_host_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="separate kernel namespace"):
        parse(linux={"sysctl": {name: "1"}, "namespaces": [MOUNT, UTS, IPC, NETWORK]})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_forward", NETWORK),
        ("kernel.shmmax", IPC),
        ("fs.mqueue.msg_max", IPC),
        ("kernel.domainname", UTS),
    ],
)
def test_a_namespaced_sysctl_needs_its_namespace(name: str, kind: dict[str, str]) -> None:
    assert parse(linux={"sysctl": {name: "1"}, "namespaces": [kind]}).linux.sysctl == {name: "1"}
    with pytest.raises(InvalidParameter):
        parse(linux={"sysctl": {name: "1"}, "namespaces": [MOUNT]})


@pytest.mark.parametrize("member", ["hostname", "domainname"])
def test_a_name_needs_a_uts_namespace_for_the_host_has_one(member: str) -> None:
    assert parse(**{member: "x"}, linux={"namespaces": [UTS]})
    with pytest.raises(InvalidParameter, match="UTS"):
        parse(**{member: "x"})


def test_mounts_need_a_mount_namespace_for_the_host_has_one() -> None:
    entry = {"destination": "/x", "type": "tmpfs"}
    assert parse(mounts=[entry], linux={"namespaces": [MOUNT]})
    with pytest.raises(InvalidParameter, match="mount namespace"):
        parse(mounts=[entry])
    with pytest.raises(InvalidParameter, match="mount namespace"):
        parse(linux={"maskedPaths": ["/proc/kcore"]})


def test_a_root_is_never_changed_in_somebody_elses_mount_namespace() -> None:
    joined = {"type": "mount", "path": "/proc/1/ns/mnt"}
    with pytest.raises(Unsupported):
        parse(root={"path": "/x"}, linux={"namespaces": [joined]})


def test_relative_paths_begin_in_the_bundle(make_bundle) -> None:
    mounts = [
        {"destination": "/a", "type": "bind", "source": "data"},
        {"destination": "/b", "source": "/abs", "options": ["rbind"]},
        {"destination": "/c", "type": "tmpfs", "source": "tmpfs"},
    ]
    directory = make_bundle({"root": {"path": "r"}, "mounts": mounts, "linux": {"namespaces": [MOUNT]}})
    spec = bundle.load(directory)
    assert spec.root is not None
    assert spec.root.path == f"{directory}/r"
    assert [entry.source for entry in spec.mounts] == [f"{directory}/data", "/abs", "tmpfs"]


def test_a_bundle_without_config_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="no such file"):
        bundle.load(str(tmp_path))
