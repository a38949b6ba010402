"""The pure, kernel, engine and api tests, unchanged, on Linux 6.1 with systemd and cgroups version 2."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

# How many cases of each folder have to be executed, not skipped, at least: a little less than there are.
LEAST = {"kernel": 440, "formats": 250, "storage": 260, "runtime": 300, "engine": 450, "api": 300, "cli": 120}
ROUNDS = 3


def test_the_machine_is_what_the_host_is_not(vm: "Machine") -> None:
    assert vm.run("stat -f -c %T /sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    assert vm.run("ps -p 1 -o comm=").stdout.strip() == "systemd"
    assert vm.run("findmnt -no PROPAGATION /").stdout.strip() == "shared"
    assert vm.run("ip route show default").stdout == ""  # it cannot reach the world
    python = vm.run("readlink -f /opt/venv/bin/python3").stdout.strip()
    assert vm.run(f"dpkg -S {python}").stdout.startswith("python3")  # the distribution's own
    assert vm.run("docker --version").stdout.startswith("Docker version")


def test_all_tests_pass_inside(
    vm: "Machine",
    scaled: Callable[[float], float],
    results: Path,
    request: pytest.FixtureRequest,
    record_counts: Callable[[str], None],
) -> None:
    rounds = min(request.config.getoption("--rounds"), ROUNDS)
    folders = " ".join(f"tests/{name}" for name in LEAST)
    scale = scaled(1)
    answer = vm.run(
        f"MINIDOCK_TIME_SCALE={scale} sh /vagrant/tests/vm/guest.sh tests /vagrant /var/tmp/suite.xml"
        f" -q --rounds {rounds} --timeout {scaled(120):.0f} {folders}",
        check=False,
        timeout=3000,
    )
    print(answer.stdout[-20000:])
    report = results / "suite.xml"
    report.write_text(vm.run("cat /var/tmp/suite.xml").stdout)
    executed = dict.fromkeys(LEAST, 0)
    skipped = 0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        folder = case.get("classname", "").split(".")[1]
        if case.find("skipped") is None:
            executed[folder] = executed.get(folder, 0) + 1
        else:
            skipped += 1
    record_counts(f"executed inside: {executed}, {sum(executed.values())} in all; {skipped} skipped")
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-2000:]
    too_few = {name: count for name, count in executed.items() if count < LEAST.get(name, 0)}
    assert not too_few, f"executed fewer cases than expected: {too_few}, at least {LEAST}"
