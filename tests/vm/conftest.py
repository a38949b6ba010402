"""The virtual machine of this test run: `./test --vm` starts us inside libvirtd.sh, and all ends with it.

A machine that does not start is an error, never a skip: whoever asked for --vm wants to know.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vm.machine import Machine

SCRATCH_VARIABLE = "MINIDOCK_VM_SCRATCH"
TIME_SCALE = float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))
ENGINE = "DOCKER_HOST=unix:///run/minidock/minidock.sock"


@pytest.fixture(scope="session")
def vm(checkout: Path) -> Iterator["Machine"]:
    """Yield the running machine, with the checkout at /vagrant and `minidock` on PATH."""
    from tests.vm.machine import Machine  # needs python-vagrant, which only --vm installs

    scratch = os.environ.get(SCRATCH_VARIABLE, "")
    if not scratch:
        pytest.fail("these cases run through ./test --vm, which prepares their machine", pytrace=False)
    machine = Machine(checkout, Path(scratch))
    try:
        machine.up()
        machine.run("sh /vagrant/tests/vm/guest.sh link /vagrant")
        yield machine
    finally:
        machine.destroy()


@pytest.fixture(scope="module")
def service(vm: "Machine") -> Iterator["Machine"]:
    """The machine with the engine as an enabled unit, and no container in it afterwards."""
    vm.run("sh /vagrant/tests/vm/guest.sh units /vagrant")
    vm.run("minidock run --rm hostbox true")  # makes the image
    yield vm
    vm.run(f"export {ENGINE}; docker ps -aq | xargs -r docker rm -f", check=False)
    vm.run("systemctl disable --now minidock.service", check=False)


def docker(vm: "Machine", arguments: str, check: bool = True) -> str:
    """Run Debian's own docker command line against the engine and return what it prints."""
    return vm.run(f"{ENGINE} docker {arguments}", check=check).stdout.strip()


@pytest.fixture(scope="session")
def scaled() -> Callable[[float], float]:
    """Return the function that stretches a number of seconds for an emulated machine."""
    return lambda seconds: seconds * TIME_SCALE


@pytest.fixture(scope="session")
def results() -> Path:
    """Return where the junit XML of the machine's tests goes."""
    return Path(os.environ["MINIDOCK_VM_RESULTS"])


COUNTS = pytest.StashKey[list[str]]()


@pytest.fixture
def record_counts(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return the function that adds a line to the run's closing lines."""
    lines = request.config.stash.setdefault(COUNTS, [])
    return lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(COUNTS, []):
        terminalreporter.write_line(line)
