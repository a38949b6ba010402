"""libvirtd.sh: what runs in it ends with it, in whatever way it ends."""

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

SCRIPT = Path(__file__).with_name("libvirtd.sh")


def running(word: str) -> int:
    """Count the processes with `word` among their arguments."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += word in path.read_text(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
    return count


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Yield a run of the script whose command waits, and a word that only that command has."""
    word = f"{random.randrange(10**6, 10**7)}"
    command = [
        str(SCRIPT),
        str(tmp_path),
        "sh",
        "-c",
        f"virsh -q net-list --all --name; echo up; sleep {word}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "up\n":
            assert line, "it ended at its start"
        yield process, word
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_takes_everything_with_it(
    inside: tuple["subprocess.Popen[str]", str], number: signal.Signals
) -> None:
    process, word = inside
    before = running("libvirtd")
    assert running(word) == 1
    process.send_signal(number)
    deadline = time.monotonic() + 60
    while running(word) or running("libvirtd") != before - 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_exit_code_of_the_command_is_its_own(tmp_path: Path) -> None:
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", "exit 7"], check=False).returncode == 7


def test_what_happens_to_the_network_inside_is_not_seen_outside(tmp_path: Path) -> None:
    before = set(Path("/sys/class/net").iterdir())
    command = "ip link add mdvmtest type bridge && test -e /sys/class/net/mdvmtest"
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", command], check=False).returncode == 0
    assert set(Path("/sys/class/net").iterdir()) == before
