"""The same verb through docker's command line and through ours, on the same engine, prints the same bytes."""

import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run

LINES = Path(__file__).with_name("same_as_docker.txt")
READING = [line for line in LINES.read_text().splitlines() if line and not line.startswith("#")]
NAMES = re.compile(rb"[Mm]inidock(?!-cli-test)|\bDocker\b")
MADE_ANEW = re.compile(rb"\b[0-9a-f]{64}\n")
UPSTREAM_SLIP = (b"\nSRun '", b"\nRun '")  # of docker 28


@pytest.fixture(scope="module")
def prefix(host: str, image: str, docker28: str) -> Iterator[tuple[str, str]]:
    """Yield a name prefix of two containers, one of which has ended with 3, and the time after that."""
    from tests.cli.conftest import MINIDOCK, _run, environment

    chosen = f"same{os.urandom(4).hex()}"

    def run(*words: str) -> None:
        assert _run(MINIDOCK, *words, env=environment(host)).returncode in (0, 3)

    mounts = ["-v", "/anonymous", "-v", f"{chosen}-volume:/named:ro", "-l", "a=b"]
    run("run", "-d", "--name", f"{chosen}-up", *mounts, "--network", "none", image, "sleep", "1000")
    labels = ["-l", "a=<b> & c", "-l", "d=e"]
    script = "echo one; echo two; echo three >&2; sleep 0.1; exit 3"
    run("run", "--name", f"{chosen}-done", *labels, "--network", "none", image, "sh", "-c", script)
    yield chosen, f"{time.time():.9f}"
    run("rm", "-fv", f"{chosen}-up", f"{chosen}-done")
    run("volume", "rm", f"{chosen}-volume")


@pytest.mark.parametrize("line", READING)
def test_both_print_the_same(
    line: str, prefix: tuple[str, str], image: str, minidock: Run, docker: Run
) -> None:
    names = {"PREFIX": prefix[0], "UNTIL": prefix[1], "IMAGE": image}
    for placeholder, value in names.items():
        line = line.replace(placeholder, value)
    words = shlex.split(line)
    for _ in range(3):  # "2 seconds ago" may become 3 between the two
        ours, theirs = minidock(*words), docker(*words)
        found = [plain(answer.stdout + b"\0" + answer.stderr) for answer in (ours, theirs)]
        if found[0] == found[1]:
            break
    assert found[0].decode() == found[1].decode()
    assert ours.returncode == theirs.returncode


def plain(text: bytes) -> bytes:
    """Return a text without the program's own name and without ids made anew by each run."""
    return MADE_ANEW.sub(b"ID\n", NAMES.sub(b"docker", text)).replace(*UPSTREAM_SLIP)
