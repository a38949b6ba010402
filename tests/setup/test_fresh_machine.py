"""What a newcomer does, in order, on a new minbase root with an ordinary sudo user (docs/decisions/0004)."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from setup import fresh_machine

pytestmark = [
    pytest.mark.fresh_machine,
    pytest.mark.xdist_group("fresh machine"),
    pytest.mark.timeout(1800),
]
OTHER = "other"


@dataclass
class Machine:
    """A fresh root, and what was on it before anybody did anything."""

    root: Path
    packages: str = ""
    files: list[str] = field(default_factory=list)

    def run(self, command: str, user: str = fresh_machine.USER, network: bool = True) -> tuple[int, str]:
        """Run a shell line in the user's checkout; return its exit code and all that it printed."""
        line = f"cd {fresh_machine.CHECKOUT} && {{ {command}; }} 2>&1"
        words = [sys.executable, "-B", "-m", "setup.fresh_machine", "run", str(self.root), user, line]
        offline = [] if network else ["unshare", "--net"]
        answer = subprocess.run(
            [*offline, *words], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
        )
        return answer.returncode, answer.stdout + answer.stderr

    def state(self) -> list[str]:
        """Return what set-up may change beside packages: the places that it owns and the links it makes."""
        places = "/opt /usr/local /usr/sbin/policy-rc.d /run/minidock /var/lib/minidock ~/.cache"
        return self.run(f"sudo find {places} 2>/dev/null | sort")[1].splitlines()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="minidock-fresh-", dir="/var/tmp"))
    try:
        fresh_machine.make(directory)
        made = Machine(directory)
        made.packages = made.run("dpkg-query -W")[1]
        made.files = made.state()
        yield made
    finally:
        fresh_machine.remove(directory)


def test_an_account_without_sudo_reads_one_sentence_and_nothing_was_changed(machine: Machine) -> None:
    copy = f"cp -r {fresh_machine.CHECKOUT} /home/{OTHER}/ && chown -R {OTHER}: /home/{OTHER}"
    assert machine.run(f"useradd -m {OTHER} && {copy}", "root")[0] == 0
    for command in ("./demo", "./test"):
        code, shown = machine.run(f"cd /home/{OTHER}/minidock && {command} </dev/null", OTHER)
        assert code == 1
        assert "run it as root or from an account that may use sudo" in shown.splitlines()[-1]
        assert "Traceback" not in shown
    assert machine.run("dpkg-query -W")[1] == machine.packages


def test_the_first_demo_lists_its_steps_then_runs_containers(machine: Machine) -> None:
    code, shown = machine.run("./demo")
    assert code == 0, shown
    lines = shown.splitlines()
    steps = [line for line in lines if re.match(r"  \d\. ", line)]
    assert len(steps) >= 3
    assert lines.index(steps[-1]) < next(i for i, line in enumerate(lines) if line.startswith("[1/"))
    assert "hello from a container" in lines
    assert "through a pipe and back" in lines


def test_the_second_demo_needs_no_step_and_no_network(machine: Machine) -> None:
    code, shown = machine.run("./demo", network=False)
    assert code == 0, shown
    assert "sets up" not in shown
    assert "hello from a container" in shown.splitlines()


def test_sudo_minidock_works_from_anywhere(machine: Machine) -> None:
    code, shown = machine.run("cd / && sudo minidock run --rm hostbox echo from anywhere", network=False)
    assert code == 0, shown
    assert shown.splitlines()[-1] == "from anywhere"


def test_the_tests_run_for_an_ordinary_user_and_again_offline(machine: Machine) -> None:
    for network in (True, False):
        code, shown = machine.run("./test tests/formats tests/setup", network=network)
        assert code == 0, shown
        assert re.search(r"^[1-9]\d* passed, 0 failed", shown, re.MULTILINE), shown
    assert "sets up" not in shown


def test_the_checkout_stays_its_users_own(machine: Machine) -> None:
    code, shown = machine.run(
        f"find . -not -user {fresh_machine.USER} -o -name __pycache__ -o -name '*.egg-info'"
    )
    assert (code, shown) == (0, "")


def test_no_service_and_no_engine_but_ours_was_installed(machine: Machine) -> None:
    names = set(re.findall(r"^(\S+?)(?::\S+)?\t", machine.run("dpkg-query -W")[1], re.MULTILINE))
    assert "libnftables1" in names
    assert not names & {"docker.io", "docker-cli", "containerd", "runc", "podman"}


def test_uninstall_takes_everything_back(machine: Machine) -> None:
    code, shown = machine.run("./demo --uninstall --data", network=False)
    assert code == 0, shown
    for what in ("/opt/minidock", "/usr/local/bin/minidock", "libnftables1"):
        assert any(what in line for line in shown.splitlines()), shown
    assert machine.run("dpkg-query -W")[1] == machine.packages
    assert [path for path in machine.state() if path != "/home/newcomer/.cache"] == machine.files


def test_uninstall_on_a_clean_machine_says_so(machine: Machine) -> None:
    code, shown = machine.run("./demo --uninstall", network=False)
    assert (code, shown) == (0, "Nothing of minidock's set-up is on this machine.\n")
