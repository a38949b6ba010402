"""Starting the engine from the command line, in a mount namespace whose /run and /var/lib are its own."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import MINIDOCK

OWN_ROOTS = (
    "mount --make-rprivate / && mkdir -p /run/minidock /var/lib/minidock && "
    "mount -t tmpfs tmpfs /run/minidock && mount -t tmpfs tmpfs /var/lib/minidock && "
)
END = "; code=$?; kill $(cat /run/minidock/minidock.pid) 2>/dev/null; exit $code"


def inside(script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script where nobody's engine is; M runs our command line."""
    quoted = " ".join(f"'{word}'" for word in MINIDOCK[:-1])
    program = f'M() {{ {quoted} "$PROGRAM" "$@"; }}; '
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", OWN_ROOTS + program + script],
        env={"PATH": os.environ["PATH"], "PROGRAM": MINIDOCK[-1], **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )


def test_the_first_command_starts_the_engine_and_says_so_once() -> None:
    answer = inside("M ps && M ps" + END, SECRET="must not leak")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("the engine was not running: started it (pid ") == 1
    assert answer.stdout.count("CONTAINER ID") == 2


def test_the_default_engine_is_started_by_its_name_too() -> None:
    """Who exports DOCKER_HOST for docker, as the README says, still wants the engine back after a crash."""
    answer = inside("M ps" + END, DOCKER_HOST="unix:///run/minidock/minidock.sock")
    assert answer.returncode == 0, answer.stderr
    assert "started it (pid " in answer.stderr


def test_the_daemon_is_on_its_own() -> None:
    look = (
        "p=$(cat /run/minidock/minidock.pid); readlink /proc/$p/cwd; readlink /proc/$p/fd/0 /proc/$p/fd/1; "
        "tr '\\0' '\\n' < /proc/$p/environ; cut -d' ' -f6 /proc/$p/stat; echo $p"
    )
    answer = inside(f"M ps >/dev/null && {{ {look}; }}" + END, SECRET="must not leak")
    assert answer.returncode == 0, answer.stderr
    cwd, stdin, stdout, *rest = answer.stdout.splitlines()
    assert (cwd, stdin, stdout) == ("/", "/dev/null", "/run/minidock/daemon.log")
    assert "SECRET" not in answer.stdout
    session, process = rest[-2:]
    assert session != str(os.getsid(0))
    assert process.isdecimal()


def test_two_commands_at_once_start_one_engine() -> None:
    answer = inside("M ps & M ps & wait; M ps >/dev/null; grep -c listens /run/minidock/daemon.log" + END)
    assert answer.stdout.splitlines()[-1] == "1", answer.stderr
    assert answer.stderr.count("started it") == 1


def test_a_daemon_that_dies_at_its_start_shows_its_log() -> None:
    answer = inside("mkdir -p /run/minidock/minidock.sock/x; M ps")
    assert answer.returncode == 1
    assert "the engine did not start. Its log, /run/minidock/daemon.log, ends:\n  " in answer.stderr


@pytest.mark.parametrize("variable", ["DOCKER_HOST", "MINIDOCK_HOST"])
def test_another_host_is_never_started(variable: str, tmp_path: Path) -> None:
    answer = inside("M ps", **{variable: f"unix://{tmp_path}/s"})
    assert answer.returncode == 1
    assert answer.stderr == (
        f"Cannot connect to the minidock daemon at unix://{tmp_path}/s. Is the minidock daemon running?\n"
    )


def test_who_is_not_root_is_told_in_one_sentence() -> None:
    answer = inside(
        'setpriv --reuid 65534 --clear-groups "$0" -I -S -c "$PROGRAM" ps'.replace('"$0"', MINIDOCK[0])
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith(
        "Cannot connect to the minidock daemon at unix:///run/minidock/minidock.sock: "
    )
    assert "needs root (try: sudo minidock ...)" in answer.stderr
