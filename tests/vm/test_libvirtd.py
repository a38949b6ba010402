"""libvirtd.sh: what runs in it ends with it, in whatever way it ends."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

SCRIPT = Path(__file__).with_name("libvirtd.sh")


def running(word: str) -> set[str]:
    """Return the command lines that contain `word`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.add(path.read_text(errors="replace").replace("\0", " "))
    return {line for line in found if word in line}


@pytest.fixture
def inside(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Yield a run of the script whose command waits. Its scratch directory is an argument of its libvirtd."""
    command = [str(SCRIPT), str(tmp_path), "sh", "-c", "virsh -q net-list --all --name; echo up; sleep 10000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "up\n":
            assert line, "it ended at its start"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_it_takes_everything_with_it(
    inside: "subprocess.Popen[str]", number: signal.Signals, tmp_path: Path
) -> None:
    assert any("--pid-file" in line for line in running(str(tmp_path)))
    inside.send_signal(number)
    deadline = time.monotonic() + 60
    while left := running(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_exit_code_of_the_command_is_its_own(tmp_path: Path) -> None:
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", "exit 7"], check=False).returncode == 7


def test_what_happens_to_the_network_inside_is_not_seen_outside(tmp_path: Path) -> None:
    before = set(Path("/sys/class/net").iterdir())
    command = "ip link add mdvmtest type bridge && test -e /sys/class/net/mdvmtest"
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", command], check=False).returncode == 0
    assert set(Path("/sys/class/net").iterdir()) == before
