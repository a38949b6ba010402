"""Device nodes and the reduction of device rules."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.kernel import devices
from minidock.kernel.devices import DeviceNode, DevicePolicy, DeviceRule, reduce


def rule(text: str) -> DeviceRule:
    """Read "+c 1:3 rw" (allow) or "-c *:* m" (deny)."""
    kind, numbers, access = text[1:].split()
    major, minor = (None if part == "*" else int(part) for part in numbers.split(":"))
    return DeviceRule(text[0] == "+", kind, major, minor, access)


def policy(*texts: str) -> tuple[bool, list[str]]:
    reduced = reduce(rule(text) for text in texts)
    return reduced.allow, [str(exception) for exception in reduced.exceptions]


def test_no_rule_allows_nothing() -> None:
    assert reduce([]) == DevicePolicy(False, ())


def test_the_default_rules_are_what_docker_and_runc_allow() -> None:
    reduced = reduce(devices.DEFAULT_RULES)
    assert not reduced.allow
    assert [str(exception) for exception in reduced.exceptions] == [
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:1 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
        "c 10:200 rwm",
    ]


def test_a_privileged_container_may_use_all() -> None:
    assert reduce(devices.ALL_DEVICES) == DevicePolicy(True, ())


def test_rules_for_one_device_are_joined() -> None:
    assert policy("-a *:* rwm", "+c 1:3 r", "+c 1:3 w") == (False, ["c 1:3 rw"])


def test_a_later_denial_takes_an_earlier_permission_away() -> None:
    assert policy("+c 1:3 rwm", "-c 1:3 w") == (False, ["c 1:3 rm"])
    assert policy("+c 1:3 rwm", "-c 1:* rwm") == (False, [])
    assert policy("+c 1:3 rwm", "-b 1:3 rwm") == (False, ["c 1:3 rwm"])


def test_a_rule_for_all_devices_forgets_what_came_before() -> None:
    assert policy("+c 1:3 rwm", "+a *:* rwm", "-b 8:* rwm") == (True, ["b 8:* rwm"])
    assert policy("+a *:* rwm", "-b 8:* rwm", "-a *:* rwm") == (False, [])


@pytest.mark.parametrize("texts", [("+c *:* rwm", "-c 1:3 w"), ("+c 1:* rw", "-c *:3 r")])
def test_a_hole_in_a_wider_rule_is_refused_instead_of_left_open(texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="only a part of the earlier rule"):
        policy(*texts)


@pytest.mark.parametrize(
    ("kind", "major", "access"), [("p", 1, "r"), ("c", 1, ""), ("c", 1, "x"), ("a", 1, "rwm"), ("c", -1, "r")]
)
def test_a_malformed_rule_is_refused(kind: str, major: int, access: str) -> None:
    with pytest.raises(ValueError):
        DeviceRule(True, kind, major, None, access)


NUMBERS = st.sampled_from([None, 1, 2])
RULES = st.builds(
    DeviceRule,
    st.booleans(),
    st.sampled_from("bc"),
    NUMBERS,
    NUMBERS,
    st.sets(st.sampled_from("rwm"), min_size=1).map("".join),
)


@given(st.lists(RULES | st.builds(DeviceRule, st.booleans())))
def test_the_last_rule_that_speaks_of_a_device_decides(rules: list[DeviceRule]) -> None:
    try:
        reduced = reduce(rules)
    except ValueError:
        return
    for kind in "bc":
        for major in (1, 2):
            for minor in (1, 2):
                for access in "rwm":
                    device = DeviceRule(True, kind, major, minor, access)
                    speaking = [
                        r for r in rules if r.type == "a" or (r.covers(device) and access in r.access)
                    ]
                    expected = speaking[-1].allow if speaking else False
                    excepted = any(e.covers(device) and access in e.access for e in reduced.exceptions)
                    assert (reduced.allow != excepted) == expected


def test_a_node_has_the_mode_that_was_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    before = os.umask(0o077)
    try:
        devices.make_node(directory, "null", devices.DEFAULT_NODES["null"])
        devices.make_node(directory, "disk", DeviceNode("b", 259, 70000, 0o640, 12, 34))
    finally:
        os.umask(before)
        os.close(directory)
    status = os.stat(tmp_path / "null")
    assert status.st_mode == stat.S_IFCHR | 0o666
    assert status.st_rdev == os.stat("/dev/null").st_rdev
    assert devices.read_node(str(tmp_path / "disk")) == DeviceNode("b", 259, 70000, 0o640, 12, 34)


def test_a_node_never_replaces_or_follows_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "null").symlink_to("victim")
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(FileExistsError):
            devices.make_node(directory, "null", devices.DEFAULT_NODES["null"])
    finally:
        os.close(directory)
    assert (tmp_path / "victim").read_text() == "precious"


def test_the_default_nodes_have_the_hosts_numbers() -> None:
    for name, node in devices.DEFAULT_NODES.items():
        host = devices.read_node(f"/dev/{name}")
        assert (node.type, node.major, node.minor) == (host.type, host.major, host.minor)


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a device node"):
        devices.read_node(str(tmp_path))


def test_the_hosts_devices_are_listed_without_terminals_and_console(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for name in ("null", "console"):
        devices.make_node(directory, name, devices.DEFAULT_NODES["null"])
    os.close(directory)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("null")
    for name in ("net", "pts"):
        (tmp_path / name).mkdir()
        os.mknod(tmp_path / name / "one", stat.S_IFCHR | 0o600, os.makedev(10, 200))
    nodes = devices.host_nodes(str(tmp_path))
    assert sorted(nodes) == ["net/one", "null"]
    assert nodes["net/one"].minor == 200
