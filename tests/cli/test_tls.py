"""Our command line beside docker's on an engine over TLS: who comes in, what is said, whole streams."""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import certificates
from tests.api.conftest import end_daemon, start_daemon
from tests.cli.conftest import MINIDOCK, Run, _run, busybox_tar
from tests.cli.test_same_as_docker import plain


class Place:
    """A directory of certificates, and the addresses of an engine that takes no others."""

    def __init__(self, directory: Path, port: int, unix: str) -> None:
        self.directory = directory
        self.tcp, self.unix = f"tcp://{certificates.HOST}:{port}", unix


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = certificates.make(tmp_path_factory.mktemp("pki"))
    with socket.socket() as probe:
        probe.bind((certificates.HOST, 0))
        port = probe.getsockname()[1]
    files = ["--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem"]
    files = [str(directory / word) if word.endswith(".pem") else word for word in files]
    where = tmp_path_factory.mktemp(f"tls-{os.urandom(4).hex()}") / "engine"  # names a cgroup too
    unix = f"unix://{where}/run/minidock.sock"
    daemon = start_daemon(where, "-H", unix, "-H", f"tcp://{certificates.HOST}:{port}", "--tlsverify", *files)
    found = Place(directory, port, unix)
    answer = _run(MINIDOCK, "-H", unix, "import", "-", "box", input=busybox_tar())
    assert answer.returncode == 0, answer.stderr
    yield found
    end_daemon(daemon)


def environment(place: Place, **more: str) -> dict[str, str]:
    kept = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "DOCKER_CONFIG": str(place.directory / "config"),
    }
    return kept | {name: value.replace("PKI", str(place.directory)) for name, value in more.items()}


CLIENT = {"DOCKER_CERT_PATH": "PKI/client"}
WAYS = [
    ("--tlsverify -H TCP", CLIENT),
    ("--tls -H TCP", CLIENT),
    ("-H TCP", {**CLIENT, "DOCKER_TLS_VERIFY": "1"}),
    ("", {**CLIENT, "DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "TCP"}),
    ("", {**CLIENT, "DOCKER_TLS": "1", "DOCKER_HOST": "TCP"}),
    ("--tlsverify -H UNIX", CLIENT),
    ("--tlsverify --tlscacert PKI/ca.pem --tlscert PKI/client.pem --tlskey PKI/client-key.pem -H TCP", {}),
    ("--config PKI/client --tlsverify -H TCP", {}),
    ("--tlsverify=false -H TCP", CLIENT),
    ("--tlsverify -H TCP --tlscacert PKI/rogue-ca.pem", CLIENT),
    ("--tlsverify -H TCP --tlscert PKI/rogue.pem --tlskey PKI/rogue-key.pem", CLIENT),
    ("--tlsverify -H TCP --tlscert PKI/client.pem --tlskey PKI/server-key.pem", CLIENT),
    ("--tlsverify -H TCP --tlscert= --tlskey=", CLIENT),
    ("--tlsverify -H TCP --tlscacert PKI/names", CLIENT),
    ("--tlsverify -H TCP --tlscacert /nonexistent", CLIENT),
    ("--tlsverify -H TCP --tlscert /nonexistent", CLIENT),
    ("--tlsverify -H TCP --tlskey /nonexistent", CLIENT),
    ("--tlsverify -H TCP", {}),
    ("--tls -H UNIX", {}),
    ("--tlsverify", CLIENT),  # an engine on localhost, port 2376
    ("--context other -H TCP", {}),
    ("--context nowhere", {}),
    ("", {"DOCKER_CONTEXT": "nowhere"}),
    ("-H TCP --tlsverify", {**CLIENT, "DOCKER_CONTEXT": "nowhere"}),
    ("-c encrypted", {}),
    ("--context unchecked", {}),
    ("", {"DOCKER_CONTEXT": "encrypted"}),
    ("", {"DOCKER_CONTEXT": "encrypted", "DOCKER_HOST": "UNIX"}),
    ("--context local", {}),
]


@pytest.fixture(scope="module")
def contexts(place: Place, docker28: str) -> None:
    """Have docker write three contexts: an encrypted one, one that checks nothing, and a local one."""
    files = "ca=PKI/ca.pem,cert=PKI/client.pem,key=PKI/client-key.pem".replace("PKI", str(place.directory))
    wanted = {
        "encrypted": f"host={place.tcp},{files}",
        "unchecked": f"host={place.tcp},skip-tls-verify=true,{files.partition(',')[2]}",
        "local": f"host={place.unix}",
    }
    for name, endpoint in wanted.items():
        command = [docker28, "context", "create", name, "--docker", endpoint]
        subprocess.run(command, env=environment(place), check=True, capture_output=True)


@pytest.mark.parametrize(("options", "variables"), WAYS)
def test_both_come_in_or_are_refused_alike(
    options: str, variables: dict[str, str], place: Place, contexts: None, docker28: str
) -> None:
    def fill(text: str) -> str:
        for name, value in (("PKI", str(place.directory)), ("TCP", place.tcp), ("UNIX", place.unix)):
            text = text.replace(name, value)
        return text

    words = [*fill(options).split(), "images", "-q"]
    chosen = environment(place, **{name: fill(value) for name, value in variables.items()})
    for _ in range(5):  # a client may meet the end of the connection before the reason for it
        ours, theirs = (_run(program, *words, env=chosen) for program in (MINIDOCK, [docker28]))
        if words_of(ours) == words_of(theirs):
            break
    assert words_of(ours) == words_of(theirs)
    assert ours.returncode == theirs.returncode


def words_of(answer: "subprocess.CompletedProcess[bytes]") -> str:
    text = plain(answer.stdout + b"\0" + answer.stderr).decode()
    return text.replace("PEM data in certificate or key", "PEM data in certificate input")


def test_the_end_of_our_input_is_no_end_of_the_session(place: Place) -> None:
    data = secrets.token_bytes(1_000_000)
    script = "cat; sleep 0.2; echo after >&2; exit 5"
    words = [
        "--tlsverify",
        "-H",
        place.tcp,
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        "box",
        "sh",
        "-c",
        script,
    ]
    answer = _run(MINIDOCK, *words, env=environment(place, **CLIENT), input=data)
    assert (answer.stdout == data, answer.stderr, answer.returncode) == (True, b"after\n", 5)


def test_an_archive_and_a_log_come_through_whole(place: Place, tmp_path: Path) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[bytes]":
        answer = _run(MINIDOCK, "--tlsverify", "-H", place.tcp, *words, env=environment(place, **CLIENT))
        assert answer.returncode == 0, answer.stderr
        return answer

    run("save", "-o", str(tmp_path / "saved"), "box")
    assert run("load", "-i", str(tmp_path / "saved")).stdout == b"Loaded image: box:latest\n"
    run("run", "--name", "long", "--network", "none", "box", "sh", "-c", "head -c 3000000 /dev/zero")
    assert run("logs", "long").stdout == bytes(3_000_000)


def test_plain_http_reaches_no_encrypted_engine(place: Place) -> None:
    answer = _run(MINIDOCK, "-H", place.tcp, "ps", env=environment(place))
    assert answer.returncode == 1
    assert b'error during connect: Head "http://127.0.0.1' in answer.stderr


def test_an_engine_on_tcp_alone_is_asked_by_its_own_name(minidock: Run, tmp_path: Path) -> None:
    """The engine refuses other names in `Host`, for a web page could send those."""
    with socket.socket() as probe:
        probe.bind((certificates.HOST, 0))
        port = probe.getsockname()[1]
    where = tmp_path / f"engine-{os.urandom(4).hex()}"
    unix = f"unix://{where}/run/minidock.sock"
    daemon = start_daemon(where, "-H", unix, "-H", f"tcp://{certificates.HOST}:{port}")
    try:
        for host in (f"tcp://{certificates.HOST}:{port}", f"tcp://localhost:{port}"):
            answer = minidock("-H", host, "ps", "-q")
            assert (answer.returncode, answer.stderr) == (0, b"")
    finally:
        end_daemon(daemon)
