"""libvirtd.sh: what runs in it ends with it, in whatever way it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from setup import vm

pytestmark = [pytest.mark.vm, pytest.mark.xdist_group("vm")]

SCRIPT = Path(__file__).with_name("libvirtd.sh")
# We ourselves run in the background of such a script, where a shell has SIGINT ignored.
AS_FROM_A_TERMINAL = ("env", "--default-signal=INT")


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
    command = [
        *AS_FROM_A_TERMINAL,
        str(SCRIPT),
        str(tmp_path),
        "sh",
        "-c",
        "virsh -q net-list --all --name; echo up; sleep 10000",
    ]
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
    await_none(str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_interrupted_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """The run begins with a test that waits, so that it has everything but the machine itself."""
    (tmp_path / "test_first.py").write_text(
        "import time\ndef test_first():\n    print('waiting', flush=True)\n    time.sleep(10000)\n"
    )
    (tmp_path / vm._box_name()).touch()
    command = [
        *AS_FROM_A_TERMINAL,
        sys.executable,
        "-B",
        "-m",
        "setup.vm",
        "-s",
        str(tmp_path / "test_first.py"),
    ]
    variables = {**os.environ, "MINIDOCK_VM_CACHE": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        while "waiting" not in (line := process.stdout.readline()):
            assert line, "it ended at its start"
        process.send_signal(number)
        if number != signal.SIGKILL:
            assert process.wait() != 0
            assert running(str(tmp_path / "scratch")) == set()  # at once, and nothing on disk
            assert not (tmp_path / "scratch").exists()
        await_none(str(tmp_path))


def await_none(word: str) -> None:
    """Wait until no process has `word` in its command line."""
    deadline = time.monotonic() + 60
    while left := running(word):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_exit_code_of_the_command_is_its_own(tmp_path: Path) -> None:
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", "exit 7"], check=False).returncode == 7


def test_what_happens_to_the_network_inside_is_not_seen_outside(tmp_path: Path) -> None:
    before = set(Path("/sys/class/net").iterdir())
    command = "ip link add mdvmtest type bridge && test -e /sys/class/net/mdvmtest"
    assert subprocess.run([SCRIPT, tmp_path, "sh", "-c", command], check=False).returncode == 0
    assert set(Path("/sys/class/net").iterdir()) == before
