"""One long script of docker commands, run against dockerd and against minidock, with the same results.

The script is text (script.txt), so that adding a case is adding a line. What cannot be the same is made the
same before comparing: identifiers, durations, process ids. Where the oracle's version has other words for the
same thing, a line says so and only its exit code counts; where it cannot know better (it is of 2020, and may
lack a kernel feature here), the line only runs.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.conftest import end_daemon, start_daemon

SCRIPT = Path(__file__).with_name("script.txt")
INPUT = b"from standard input\n"
PATIENCE = 30.0
REPLACEMENTS = (
    (r"\bsha256:[0-9a-f]{64}\b|\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<short id>"),
    (r"Less than a second|\b\d+ seconds?|About a minute|\b\d+ minutes?", "<duration>"),
    (r"(?m)^\d+ +(?=\w)", "<pid> "),
    (r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d\b", "<date>"),
    (r"(?<=from daemon: )[A-Z]", lambda match: match[0].lower()),  # Docker 23 has made them small
    (r": unknown\b\.?", ""),
    (r"(?m)^(PID|COMMAND|CMD)\s+", r"\1 "),
    (r"[ \t]+$", ""),
)
# The same refusal, in the words of the oracle's runtime (runc of 2020) and in those of today's.
SAME_MEANING = (
    (r"(?s).*executable file not found in \$PATH.*", "not found in PATH"),
    (r"(?s).*(permission denied|is a directory).*", "cannot be executed"),
)


@dataclass(frozen=True)
class Outcome:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str


class Engine:
    """One engine, asked by docker's command line."""

    def __init__(self, program: str, host: str) -> None:
        self.program = program
        self.environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CLI_HINTS": "false"}

    def run_all(self) -> list[Outcome]:
        """Run the whole script."""
        return [self.run(line.lstrip("~?")) for line in lines()]

    def run(self, line: str) -> Outcome:
        words = shlex.split(line)
        if words[0].startswith("WAIT"):
            return self._wait(words)
        done = subprocess.run(
            [self.program, *words],
            input=INPUT,
            capture_output=True,
            env=self.environment,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, normal(done.stdout), meaning(normal(done.stderr)))

    def _wait(self, words: list[str]) -> Outcome:
        kind, name, wanted = words
        question = {
            "WAIT": ["inspect", "-f", "{{.State.Status}}", name],
            "WAIT-HEALTH": ["inspect", "-f", "{{.State.Health.Status}}", name],
            "WAIT-LOG": ["logs", name],
        }[kind]
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [self.program, *question], capture_output=True, env=self.environment, text=True, check=False
            )
            if wanted in done.stdout:
                return Outcome(0, "", "")
            assert time.monotonic() < deadline, (words, done)
            time.sleep(0.05)


def normal(data: bytes) -> str:
    text = data.decode(errors="replace")
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return text.strip()


def meaning(text: str) -> str:
    for pattern, replacement in SAME_MEANING:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture(scope="module")
def minidock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("same-script")
    daemon = start_daemon(directory / "minidock")
    yield f"unix://{daemon.socket_path}"
    end_daemon(daemon)


def lines() -> list[str]:
    return [line for line in SCRIPT.read_text().splitlines() if line and not line.startswith("#")]


def test_the_script_is_long_enough() -> None:
    assert len(lines()) >= 250


@pytest.mark.timeout(900)
@pytest.mark.oracle("dockerd", "docker")
def test_docker_cannot_tell_the_engines_apart(
    docker_clients: list[str], dockerd: str, minidock: str, box: bytes
) -> None:
    theirs, ours = (Engine(docker_clients[0], host) for host in (dockerd, minidock))
    for engine in (theirs, ours):
        subprocess.run([engine.program, "import", "-", "box"], input=box, env=engine.environment, check=True)
    with ThreadPoolExecutor(2) as both:  # one script on each engine, at the same time
        answers = list(both.map(Engine.run_all, (theirs, ours)))
    different = []
    for line, expected, found in zip(lines(), *answers, strict=True):
        command = line.lstrip("~?")
        same = expected.code == found.code if line.startswith("~") else expected == found
        if not same and not line.startswith("?"):
            different.append(f"{command}\n    docker:   {expected}\n    minidock: {found}")
    assert not different, f"{len(different)} differ:\n" + "\n".join(different)
