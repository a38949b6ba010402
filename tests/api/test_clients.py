"""The real clients against the engine: every docker command line on this machine, and docker-py."""

import fcntl
import json
import os
import pty
import secrets
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker as docker_py
import pytest

from tests.api.conftest import IMAGE, Client
from tests.conftest import every_docker_client

Docker = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(params=every_docker_client() or [""])
def docker_path(request: pytest.FixtureRequest) -> str:
    """Return one of the docker clients of this machine."""
    if not request.param:
        pytest.skip("no docker client on this machine")
    return str(request.param)


@pytest.fixture
def environment(client: Client, tmp_path: Any) -> dict[str, str]:
    return {
        "DOCKER_HOST": f"unix://{client.path}",
        "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_BUILDKIT": "0",
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
def docker(docker_path: str, environment: dict[str, str], containers: Client) -> Iterator[Docker]:
    """Return the function that runs the client; containers it leaves are removed by their label."""
    label = f"minidock-api-client={secrets.token_hex(8)}"

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if arguments[0] in ("run", "create"):
            arguments = (arguments[0], "--network", "none", "--label", label, *arguments[1:])
        command = [docker_path, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=60, check=False, **options
        )

    yield run
    for found in containers.get(f'/containers/json?all=1&filters={{"label":["{label}"]}}').json:
        containers.delete(f"/containers/{found['Id']}?force=1")


def test_version_and_info_answer(docker: Docker) -> None:
    version = docker("version", "--format", "{{json .Server}}")
    assert version.returncode == 0, version.stderr
    assert json.loads(version.stdout)["Os"] == "linux"
    info = docker("info", "--format", "{{.OSType}} {{.LoggingDriver}}")
    assert info.stdout == b"linux json-file\n", info.stderr


def test_run_prints_and_passes_the_exit_code(docker: Docker) -> None:
    ended = docker("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"out\n", b"err\n", 3)


def test_input_goes_in_and_comes_out(docker: Docker) -> None:
    ended = docker("run", "-i", "--rm", IMAGE, "cat", input=b"hello\n")
    assert (ended.stdout, ended.returncode) == (b"hello\n", 0)


def test_eight_mebibytes_byte_for_byte(docker: Docker) -> None:
    data = os.urandom(8 * 1024 * 1024)
    assert docker("run", "-i", "--rm", IMAGE, "cat", input=data).stdout == data


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((IMAGE, "no-such-program"), 127),
        ((IMAGE, "/no/such/file"), 127),
        ((IMAGE, "/etc"), 126),
        (("--memory", "1k", IMAGE, "true"), 125),
        ((IMAGE, "sh", "-c", "kill -9 $$"), 137),
    ],
    ids=["127", "127 path", "126", "125", "signal"],
)
def test_the_exit_code_says_who_failed(docker: Docker, arguments: tuple[str, ...], code: int) -> None:
    if code == 137:
        arguments = (*arguments[:-1], "sh -c 'kill -9 $$'; exit $?")
    assert docker("run", "--rm", *arguments).returncode == code


def test_a_container_in_the_background(docker: Docker) -> None:
    name = f"minidock-api-{secrets.token_hex(4)}"
    started = docker("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo up; exec sleep 100")
    identifier = started.stdout.decode().strip()
    assert len(identifier) == 64, started.stderr
    listed = docker(
        "ps", "--no-trunc", "--filter", f"name={name}", "--format", "{{.ID}} {{.Names}} {{.State}}"
    )
    assert listed.stdout.decode().split() == [identifier, name, "running"]
    assert docker("inspect", "--format", "{{.State.Status}}", name).stdout == b"running\n"
    assert docker("kill", "-s", "KILL", name).returncode == 0
    assert docker("wait", name).stdout == b"137\n"
    assert docker("logs", name).stdout == b"up\n"
    assert docker("rm", name).stdout.decode().strip() == name


def test_logs_are_followed_to_the_end(docker: Docker) -> None:
    started = docker("run", "-d", IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    followed = docker("logs", "-f", started.stdout.decode().strip())
    assert (followed.stdout, followed.returncode) == (b"1\n2\n3\n", 0)


def test_inspect_of_nothing_says_that_there_is_no_such_object(docker: Docker) -> None:
    ended = docker("inspect", "no-such-object")
    assert ended.returncode == 1
    assert b"o such object: no-such-object" in ended.stderr


def test_names_of_images(docker: Docker) -> None:
    name = f"minidock-api/{secrets.token_hex(4)}:v1"
    assert docker("tag", IMAGE, name).returncode == 0
    assert name in docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    assert docker("history", "-q", name).returncode == 0
    assert f"Untagged: {name}" in docker("rmi", name).stdout.decode()


def test_a_missing_image_cannot_be_run(docker: Docker) -> None:
    ended = docker("run", "--rm", "registry.invalid/no-such-image", "true")
    assert ended.returncode == 125
    assert b"Unable to find image 'registry.invalid/no-such-image:latest' locally" in ended.stderr


def test_a_terminal(docker_path: str, environment: dict[str, str], containers: Client) -> None:
    """`docker run -it`: a terminal of the right size, colours untouched, ctrl-c delivered."""
    colours = "printf '\\033[31mred\\033[0m\\n'"
    script = f"sleep 0.5; stty size; {colours}; trap 'echo caught; exit 9' INT; echo ready; sleep 100 & wait"
    master, peer = pty.openpty()
    fcntl.ioctl(peer, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    command = [docker_path, "run", "-it", "--rm", "--network", "none", IMAGE, "sh", "-c", script]
    process = subprocess.Popen(
        command, stdin=peer, stdout=peer, stderr=peer, env=environment, start_new_session=True
    )
    os.close(peer)
    output = _read_until(master, b"ready")
    assert b"33 99\r\n" in output
    assert b"\x1b[31mred\x1b[0m" in output
    os.write(master, b"\x03")
    assert b"caught" in _read_until(master, b"caught")
    assert process.wait(30) == 9
    os.close(master)


def _read_until(master: int, words: bytes) -> bytes:
    data = b""
    deadline = time.monotonic() + 30
    while words not in data:
        assert select.select([master], [], [], max(0, deadline - time.monotonic()))[0], data
        data += os.read(master, 65536)
    return data


@pytest.fixture
def library(client: Client, image: str) -> Iterator[Any]:
    connected = docker_py.DockerClient(base_url=f"unix://{client.path}", version="auto", timeout=30)
    yield connected
    connected.close()


def test_docker_py_runs_a_container(library: Any) -> None:
    assert library.containers.run(IMAGE, ["echo", "hi"], remove=True, network_mode="none") == b"hi\n"


def test_docker_py_reads_the_exit_code_and_error_output(library: Any) -> None:
    with pytest.raises(docker_py.errors.ContainerError) as caught:
        library.containers.run(
            IMAGE, ["sh", "-c", "echo bad >&2; exit 4"], remove=True, network_mode="none", stderr=True
        )
    assert caught.value.exit_status == 4
    assert b"bad" in caught.value.stderr


def test_docker_py_sees_a_life(library: Any) -> None:
    container = library.containers.run(
        IMAGE, ["sleep", "100"], detach=True, network_mode="none", labels={"a": "b"}
    )
    try:
        assert container.status in ("created", "running")
        container.reload()
        assert container.status == "running"
        assert container.id in [one.id for one in library.containers.list(filters={"label": ["a=b"]})]
        container.kill()
        assert container.wait()["StatusCode"] == 137
    finally:
        container.remove(force=True, v=True)


def test_docker_py_errors_are_of_the_right_class(library: Any) -> None:
    with pytest.raises(docker_py.errors.NotFound):
        library.containers.get("no-such-container")
    with pytest.raises(docker_py.errors.ImageNotFound):
        library.images.get("no-such-image")
