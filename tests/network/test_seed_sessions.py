"""What the page this project began with (May 2014) shows of ports and volumes, by each command line."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.cli.conftest import MINIDOCK
from tests.network.conftest import IMAGE, PATIENCE, Engine

Docker = Callable[..., str]
SOURCES = b"deb http://archive.example/ubuntu precise main\n" * 500
BUSYBOX = shutil.which("busybox", path="/bin:/usr/bin") or "busybox"


@pytest.fixture(params=["minidock", "docker"])
def docker(engine: Engine, request: pytest.FixtureRequest) -> Docker:
    """Return our command line, and docker's where there is one, as a function of its words."""
    clients = request.getfixturevalue("docker_clients")
    if request.param == "docker" and not clients:
        pytest.skip("no docker command line on this machine")
    program = MINIDOCK if request.param == "minidock" else clients[:1]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.daemon.socket_path}"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, env=environment, check=False, timeout=60
        )
        assert done.returncode == 0, done
        return done.stdout.strip()

    return run


def _as_today(text: str) -> str:
    """Spell IPv6's any address as docker 28 does; docker 20.10 leaves the brackets out."""
    return re.sub(r"(?<!\S):::", "[::]:", text)


def test_a_file_goes_into_a_container_by_netcat(engine: Engine, docker: Docker) -> None:
    listen = 'nc() { busybox nc "$@"; }; nc -l -p 33333 > /etc/sources.list; sleep 1000'
    # With -i: a netcat whose standard input is at its end has nothing to say, and says so at once.
    one = docker("run", "-d", "-i", "-p", "22222:33333", IMAGE, "sh", "-c", listen)

    def is_listening() -> bool:
        def connectable() -> bool:
            with open("/proc/thread-self/net/tcp6", encoding="ascii") as file:
                return f":{33333:04X} " in file.read()

        return engine.lan.inside(engine.pid(one), connectable)

    deadline = time.monotonic() + PATIENCE
    while not is_listening():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    shown = docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Ports}}")
    assert _as_today(shown).split("\n") == [f"{one} 0.0.0.0:22222->33333/tcp, [::]:22222->33333/tcp"]
    assert _as_today(docker("port", one[:12], "33333")) == "0.0.0.0:22222\n[::]:22222"

    def send() -> None:
        subprocess.run([BUSYBOX, "nc", "localhost", "22222"], input=SOURCES, check=True, timeout=PATIENCE)

    engine.lan.host(send)
    assert docker("exec", one, "cat", "/etc/sources.list").encode() == SOURCES.strip()
    docker("rm", "-f", one)


def test_somebody_listens_on_the_published_port(engine: Engine, docker: Docker) -> None:
    """`netstat -tlnp` showed `tcp6 :::22222`: both families are listened on, each for itself."""
    one = docker("run", "-d", "-p", "22222:33333", IMAGE, "sleep", "1000")

    def listening(family: str) -> bool:
        with open(f"/proc/thread-self/net/{family}", encoding="ascii") as file:
            return any(f":{22222:04X} " in line and " 0A " in line for line in file)

    assert engine.lan.host(lambda: (listening("tcp"), listening("tcp6"))) == (True, True)
    docker("rm", "-f", one)
    assert engine.lan.host(lambda: (listening("tcp"), listening("tcp6"))) == (False, False)


def test_two_containers_share_the_volume_of_a_third(docker: Docker) -> None:
    docker("run", "--name", "data", "-v", "/tmp/tankywoo", IMAGE, "true")
    first = docker("run", "-d", "--volumes-from", "data", IMAGE, "sleep", "1000")
    second = docker("run", "-d", "--volumes-from=data", IMAGE, "sleep", "1000")
    docker("exec", first, "sh", "-c", "echo from the first > /tmp/tankywoo/file")
    assert docker("exec", second, "cat", "/tmp/tankywoo/file") == "from the first"
    docker("rm", "-f", "-v", first, second)
    assert (
        docker("run", "--rm", "--volumes-from", "data:ro", IMAGE, "cat", "/tmp/tankywoo/file")
        == "from the first"
    )
    docker("rm", "-v", "data")
    assert docker("volume", "ls", "-q") == ""
