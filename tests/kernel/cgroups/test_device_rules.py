"""Device rules at work: the same verdicts by version 1's files and version 2's program."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import bpf_devices, cgroups
from minidock.kernel.cgroups import Cgroup
from minidock.kernel.devices import ALL_DEVICES, DEFAULT_NODES, DEFAULT_RULES, DeviceRule, reduce

KMSG = DeviceRule(True, "c", 1, 11, "r")


def ask(cgroup: Cgroup, in_child: Any, questions: Callable[[], Any]) -> Any:
    """Return what `questions` returns in a child that has joined the cgroup."""
    descriptors = cgroup.join_descriptors()

    def joined() -> Any:
        cgroups.join_by(descriptors)
        return questions()

    try:
        return in_child(joined)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def opened(path: Path | str, flags: int = os.O_RDONLY) -> str:
    """Return "" if the device opens, else the name of the error."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
        return ""
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.fixture
def kmsg(tmp_path: Path) -> Path:
    """The kernel's log, a device that root may open and a container may not."""
    path = tmp_path / "kmsg"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 11))
    if opened(path):
        pytest.skip(f"this host itself may not open the device 1:11: {opened(path)}")
    return path


def test_a_container_opens_its_own_devices_and_no_other(cgroup: Cgroup, in_child: Any, kmsg: Path) -> None:
    assert ask(cgroup, in_child, lambda: opened(kmsg)) == ""  # the twin: nothing is restricted yet
    cgroup.restrict_devices(DEFAULT_RULES)
    verdicts = ask(
        cgroup,
        in_child,
        lambda: [opened(kmsg)] + [opened(f"/dev/{name}") for name in DEFAULT_NODES if name != "tty"],
    )
    assert verdicts == ["EPERM", "", "", "", "", ""]


def test_a_disk_can_be_made_but_not_opened(cgroup: Cgroup, in_child: Any, tmp_path: Path) -> None:
    cgroup.restrict_devices(DEFAULT_RULES)

    def questions() -> str:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
        return opened(tmp_path / "disk")

    assert ask(cgroup, in_child, questions) == "EPERM"


def test_making_a_node_needs_its_own_permission(cgroup: Cgroup, in_child: Any, tmp_path: Path) -> None:
    cgroup.restrict_devices([DeviceRule(False), DeviceRule(True, "c", 1, 3, "rw")])

    def questions() -> str:
        try:
            os.mknod(tmp_path / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            return "refused"
        return "made"

    assert ask(cgroup, in_child, questions) == "refused"
    assert not (tmp_path / "null").exists()


def test_reading_and_writing_are_allowed_one_by_one(cgroup: Cgroup, in_child: Any) -> None:
    cgroup.restrict_devices(
        [DeviceRule(False), DeviceRule(True, "c", 1, 3, "r"), DeviceRule(True, "c", 1, 5, "w")]
    )
    modes = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
    verdicts = ask(
        cgroup,
        in_child,
        lambda: [opened(f"/dev/{name}", mode) for name in ("null", "zero") for mode in modes],
    )
    assert verdicts == ["", "EPERM", "EPERM", "EPERM", "", "EPERM"]


def test_one_device_can_be_denied_to_a_privileged_container(
    cgroup: Cgroup, in_child: Any, kmsg: Path
) -> None:
    cgroup.restrict_devices(
        [*ALL_DEVICES, DeviceRule(False, "c", 1, 11, "r"), DeviceRule(False, "c", 1, 5, "w")]
    )
    verdicts = ask(
        cgroup,
        in_child,
        lambda: [
            opened(kmsg),
            opened("/dev/null", os.O_RDWR),
            opened("/dev/zero", os.O_RDWR),
            opened("/dev/zero"),
        ],
    )
    assert verdicts == ["EPERM", "", "EPERM", ""]


def test_new_rules_replace_the_old_ones(cgroup: Cgroup, in_child: Any, kmsg: Path) -> None:
    cgroup.restrict_devices(DEFAULT_RULES)
    cgroup.restrict_devices([*DEFAULT_RULES, KMSG])
    assert ask(cgroup, in_child, lambda: opened(kmsg)) == ""
    cgroup.restrict_devices(DEFAULT_RULES)
    assert ask(cgroup, in_child, lambda: opened(kmsg)) == "EPERM"
    cgroup.restrict_devices(ALL_DEVICES)
    assert ask(cgroup, in_child, lambda: opened(kmsg)) == ""


def test_many_rules_reach_the_kernel_whole(cgroup: Cgroup, in_child: Any, kmsg: Path) -> None:
    many = [DeviceRule(True, "c", 300 + number, number, "rw") for number in range(300)]
    cgroup.restrict_devices([DeviceRule(False), *many, KMSG])
    assert ask(cgroup, in_child, lambda: [opened(kmsg), opened("/dev/null")]) == ["", "EPERM"]


def test_only_one_program_stays_attached(unified: Cgroup) -> None:
    directory = unified.paths()[cgroups.UNIFIED]
    for _ in range(3):
        bpf_devices.replace(directory, bpf_devices.assemble(reduce(DEFAULT_RULES)))
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert len(bpf_devices.attached(descriptor)) == 1
    finally:
        os.close(descriptor)


def test_a_program_that_the_verifier_refuses_is_an_error_with_its_words(unified: Cgroup) -> None:
    endless = bpf_devices.assemble(reduce(DEFAULT_RULES))[:-8]  # without its last exit
    with pytest.raises(OSError, match="BPF_PROG_LOAD") as caught:
        bpf_devices.replace(unified.paths()[cgroups.UNIFIED], endless)
    assert any("insn" in note or "invalid" in note or "exit" in note for note in caught.value.__notes__)


def test_a_program_needs_a_cgroup_version_2(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="BPF_PROG_QUERY"):
        bpf_devices.replace(str(tmp_path), bpf_devices.assemble(reduce(DEFAULT_RULES)))
