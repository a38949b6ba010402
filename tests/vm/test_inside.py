"""The tests, the graders' among them, unchanged, on Linux 6.1 with systemd and cgroups version 2."""

import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from setup import suite

if TYPE_CHECKING:
    from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

# How many cases of each folder have to be executed, not skipped, at least: a little less than there are.
LEAST = {
    "kernel": 470,
    "formats": 290,
    "storage": 325,
    "runtime": 365,
    "engine": 570,
    "api": 410,
    "cli": 165,
    "network": 120,
    "system": 35,
    "learn": 150,
}
# Why a case may be skipped in there: another reason is a failure.
MAY_LACK = re.compile(
    "no cgroups version 1"  # the other of the two worlds
    "|no docker command line 28"  # the box has Debian's client alone
    "|beside the checkout|the file to compare with"  # Docker's own files are no part of the checkout
)
LEAST_SOAK = 33  # with --soak
LONGEST = 16 * 3600  # seconds; a test has its own limit


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
    given = request.config.getoption
    chosen = given("--inside")
    repeat = ["--rounds", str(given("--rounds"))]
    if given("--soak"):  # the stress tests alone: the others are no longer for it
        repeat = ["--soak", "-m", "soak"]

    def run(*words: str) -> tuple[Path, int]:
        """Run tests in the machine, and return where their junit XML is now and the exit code."""
        inside = "/var/tmp/suite.xml"
        options = ["-q", *repeat, "--timeout", f"{scaled(120):.0f}", *words]
        script = ["sh", "/vagrant/tests/vm/guest.sh", "tests", "/vagrant", inside, *options]
        answer = vm.run(f"MINIDOCK_TIME_SCALE={scaled(1)} {shlex.join(script)}", check=False, timeout=LONGEST)
        print(answer.stdout[-20000:] + answer.stderr[-2000:])
        report = results / f"{len(list(results.iterdir()))}-inside.xml"
        report.write_text(vm.run(f"cat {inside}").stdout)
        return report, answer.returncode

    # Plain asserts need no compiler. What fails is tried once more, alone, and then explains itself.
    report, code = run("--assert=plain", *(chosen or [f"tests/{name}" for name in LEAST]))
    failed = suite.failed_cases(report)
    again = f"; once more, alone: {failed}" if failed else ""
    record_counts(f"inside the machine: {suite.counts(report)}{again}")
    if 0 < len(failed) <= suite.MOST_AGAIN:
        _, code = run("-n", "0", *failed)
    assert code == 0
    executed, seconds, reasons = Counter[str](), Counter[str](), set()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        folder = case.get("classname", "").split(".")[1]
        skipped = case.find("skipped")
        if skipped is None:
            executed[folder] += 1
            seconds[folder] += round(float(case.get("time", "0")))
        else:
            reasons.add(skipped.get("message", ""))
    record_counts(f"executed there: {dict(executed)}, {executed.total()} in all; seconds: {dict(seconds)}")
    whole = [name for name in LEAST if not chosen or f"tests/{name}" in chosen]
    too_few = {name: executed[name] for name in whole if executed[name] < LEAST[name]}
    assert executed, "no case was executed"
    if given("--soak"):
        assert chosen or executed.total() >= LEAST_SOAK, f"of the stress tests at least {LEAST_SOAK}"
    else:
        assert not too_few, f"executed fewer cases than expected: {too_few}, at least {LEAST}"
    assert not {reason for reason in reasons if not MAY_LACK.search(reason)}
