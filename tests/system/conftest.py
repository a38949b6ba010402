"""One engine per test process and the real docker command line against it: what a user sees, seen as a
user.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.conftest import Daemon, busybox_tar, end_daemon, start_daemon

TIMEOUT = 120.0 * float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))


@dataclass(frozen=True)
class Docker:
    """A docker client that talks to one engine. `image` holds busybox."""

    program: str
    host: str
    image: str

    def __call__(
        self, *words: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a docker command; with `check`, a failure is the test's."""
        environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.host, "HOME": "/nonexistent"}
        done = subprocess.run(
            [self.program, *words],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=TIMEOUT,
            check=False,
        )
        answer = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        if check:
            assert answer.returncode == 0, answer.stderr
        return answer

    def run(self, *words: str, script: str = "true", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a new container without network; `words` are options of `docker run`."""
        return self("run", "--rm", "--net", "none", *words, self.image, "sh", "-c", script, check=check)


@pytest.fixture(scope="session")
def system_daemon() -> Iterator[Daemon]:
    """Yield an engine of this test process, on a disk that overlayfs accepts, and take its roots away."""
    with tempfile.TemporaryDirectory(prefix="minidock-system-", dir="/var/tmp") as top:
        daemon = start_daemon(Path(top) / "engine")
        yield daemon
        end_daemon(daemon)


@pytest.fixture(scope="session")
def docker(system_daemon: Daemon, docker_clients: list[str]) -> Docker:
    """Return the first docker client on PATH, with an image `box` in the engine."""
    assert docker_clients, "./test provides a docker client"
    docker = Docker(docker_clients[0], f"unix://{system_daemon.socket_path}", "box")
    docker("import", "-", "box", stdin=busybox_tar())
    return docker


def cgroup_file(daemon: Daemon, identifier: str, controller: str, v1: str, v2: str) -> str:
    """Read a limit of a running container back from the kernel, whichever version the host has."""
    below = f"{daemon.cgroup_parent.lstrip('/')}/{identifier}"
    v1_path = Path("/sys/fs/cgroup") / controller / below / v1
    path = v1_path if v1_path.exists() else Path("/sys/fs/cgroup") / below / v2
    return path.read_text().strip()
