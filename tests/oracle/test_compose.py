"""A project of several services under Debian's docker-compose (1.29), the same on dockerd and on minidock.

Compose does things at the same time, so what it prints is compared as a set of lines. The engines lie in
network namespaces of their own, where both may have the same subnets and ports.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.conftest import end_daemon, start_daemon
from tests.network.conftest import Lan
from tests.oracle.test_same_script import normal

PROJECT = Path(__file__).with_name("compose.yml")
COMPOSE = (
    "up -d",
    "ps",
    "ps -q",
    "ps --services",
    "exec -T web cat /data/state /tmp/index.html",
    "exec -T web sh -c 'echo $GREETING; ls /source; touch /data/x'",
    "exec -T web wget -qO- http://web.front/",
    "exec -T worker nslookup database",
    "exec -T --index=2 worker sh -c 'mount | grep scratch'",
    "exec -T worker wget -T 2 -qO- http://10.91.0.10:5432/",
    "exec -T nosuch true",
    "port web 80",
    "port --protocol=udp web 81",
    "port web 99",
    "logs --no-color --tail=3 web",
    "up -d --scale worker=3",
    "up -d --scale worker=1",
    "restart web",
    "stop worker",
    "start worker",
    "pause db",
    "ps",
    "unpause db",
    "run --rm -T worker echo one-off",
    "run --rm -T -e X=y --no-deps worker env",
    "run --rm -T worker sh -c 'exit 7'",
    "config -q",
    "kill -s TERM db",
    "up -d",
    "kill worker",
    "rm -f worker",
    "up -d --force-recreate db",
    "images",
)
DOCKER = (
    "volume ls --format '{{.Name}} {{.Driver}}'",
    "volume inspect -f '{{.Labels.a}} {{.Options}}' p_state",
    "network ls -f name=p_ --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}}'",
    "network inspect -f '{{.Internal}} {{(index .IPAM.Config 0).Subnet}}' p_back",
    "ps -a --format '{{.Names}} {{.State}} {{.Networks}}'",
)


class Side:
    """One engine and its copy of the project."""

    def __init__(self, host: str, directory: Path, docker: str, box: bytes) -> None:
        self.directory, self.docker = directory, docker
        (directory / "source").mkdir(parents=True)
        (directory / "source" / "file").touch()
        shutil.copy(PROJECT, directory / "docker-compose.yml")
        self.environment = {
            **os.environ,
            "DOCKER_HOST": host,
            "DOCKER_CONFIG": "/nonexistent",
            "COMPOSE_PROJECT_NAME": "p",
            "COMPOSE_HTTP_TIMEOUT": "300",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "400",  # so that no cell of a table is wrapped
        }
        subprocess.run([docker, "import", "-", "box"], input=box, env=self.environment, check=True)

    def session(self) -> list[tuple[str, int, list[str]]]:
        """Run everything; return each command with its exit code and its lines, in any order."""
        answers = [self._run("docker-compose", line) for line in COMPOSE]
        answers += [self._run(self.docker, line) for line in DOCKER]
        answers.append(self._run("docker-compose", "down -v"))
        return answers + [self._run(self.docker, line) for line in DOCKER[:1] + DOCKER[2:3] + DOCKER[-1:]]

    def _run(self, program: str, line: str) -> tuple[str, int, list[str]]:
        done = subprocess.run(
            ["sh", "-c", f"exec {program} {line}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        text = re.sub(r"p_worker_run_\S+|\bHOSTNAME=\S+", "<one-off>", normal(done.stdout))
        text = re.sub(r",:::\d+->\d+/\w+", "", text)  # the oracle's namespace has no IPv6
        # The client names networks in the random order of a map.
        text = re.sub(r"\S+,\S+", lambda found: ",".join(sorted(found[0].split(","))), text)
        lines = {" ".join(line.strip("-").split()) for line in text.splitlines()}
        return line, done.returncode, sorted(line for line in lines if not line.endswith("..."))


@pytest.fixture
def minidock(tmp_path: Path) -> Iterator[str]:
    lan = Lan()
    daemon = lan.host(lambda: start_daemon(tmp_path / "minidock", "--bridge", ""))
    yield f"unix://{daemon.socket_path}"
    end_daemon(daemon)
    lan.close()


@pytest.mark.timeout(900)
@pytest.mark.oracle("dockerd", "docker-compose")
def test_compose_cannot_tell_the_engines_apart(
    docker_clients: list[str], dockerd: str, minidock: str, box: bytes, tmp_path: Path
) -> None:
    hosts = {"theirs": dockerd, "ours": minidock}
    sides = [Side(host, tmp_path / name / "p", docker_clients[0], box) for name, host in hosts.items()]
    with ThreadPoolExecutor(2) as both:
        theirs, ours = both.map(Side.session, sides)
    different = [
        f"docker:   {one}\nminidock: {other}" for one, other in zip(theirs, ours, strict=True) if one != other
    ]
    assert not different, f"{len(different)} differ:\n" + "\n".join(different)
