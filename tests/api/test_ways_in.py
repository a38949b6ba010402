"""TCP and TLS: who comes in, who does not, and streams over an encrypted connection."""

import contextlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.api import tls, ways_in
from minidock.api.ways_in import Security
from minidock.errors import Forbidden, InvalidParameter
from tests.api.conftest import Daemon, StartDaemon, busybox_tar
from tests.certificates import HOST, make


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CA, a server's and a client's pair, and a rogue's with a CA of its own."""
    return make(tmp_path_factory.mktemp("pki"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def secure(new_daemon: StartDaemon, daemon_directory: Path, certificates: Path) -> tuple[Daemon, int]:
    """Return a daemon with mutual TLS, and its port."""
    port = free_port()
    files = ["--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem"]
    files = [str(certificates / word) if word.endswith(".pem") else word for word in files]
    hosts = ["-H", f"tcp://{HOST}:{port}", "-H", unix(daemon_directory, f"tls{port}")]
    return new_daemon(f"tls{port}", *hosts, "--tlsverify", *files), port


def unix(daemon_directory: Path, name: str) -> str:
    """Return the host on which the fixture looks for the daemon."""
    return f"unix://{daemon_directory}/{name}/run/minidock.sock"


def context(certificates: Path, name: str | None, authority: str = "ca") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(certificates / f"{authority}.pem"))
    if name:
        made.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}-key.pem")
    return made


def ping(port: int, chosen: ssl.SSLContext, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(HOST, port, context=chosen, timeout=10)
    connection.request("GET", "/_ping", headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.only_minidock
def test_only_a_client_with_a_certificate_of_our_authority_comes_in(
    secure: tuple[Daemon, int], certificates: Path
) -> None:
    _, port = secure
    assert ping(port, context(certificates, "client")) == (200, b"OK")
    for name in (None, "rogue"):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ping(port, context(certificates, name))
    with pytest.raises(ssl.SSLCertVerificationError):  # and the client knows a wrong server
        ping(port, context(certificates, "client", "rogue-ca"))
    with socket.create_connection((HOST, port), timeout=10) as plain:
        plain.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"200 OK" not in plain.recv(4096)
    assert ping(port, context(certificates, "client"), Origin="https://example.com")[0] == 403


@pytest.mark.only_minidock
def test_a_stream_over_tls_is_whole_and_ends(secure: tuple[Daemon, int], certificates: Path) -> None:
    daemon, port = secure
    client = daemon.client()
    client.post("/images/create?fromSrc=-&repo=box&tag=latest", busybox_tar())
    body = {"Image": "box", "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True}
    identifier = client.post("/containers/create", {**body, "HostConfig": {"NetworkMode": "none"}}).json["Id"]
    raw = socket.create_connection((HOST, port), timeout=30)
    with context(certificates, "client").wrap_socket(raw, server_hostname=HOST) as stream:
        query = "stream=1&stdin=1&stdout=1"
        lines = [f"POST /containers/{identifier}/attach?{query} HTTP/1.1", "Host: x", "Content-Length: 0"]
        stream.sendall(("\r\n".join([*lines, "Connection: Upgrade", "Upgrade: tcp"]) + "\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += stream.recv(1)
        client.start(identifier)
        token = secrets.token_bytes(1000)
        stream.sendall(token)
        received = b""
        while len(received) < 1008:
            received += stream.recv(4096)
        assert received[8:] == token
        client.post(f"/containers/{identifier}/kill")
        assert stream.recv(4096) == b""  # the end, and no error


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("ca.pem", "nothing.pem", "server-key.pem"), "could not read the TLS certificate"),
        (("ca.pem", "server.pem", "nothing.pem"), "could not read the TLS key"),
        (("nothing.pem", "server.pem", "server-key.pem"), "could not read the TLS CA"),
        (("ca.pem", "server.pem", "client-key.pem"), "could not load the X509 key pair"),
        (("ca.pem", "names", "server-key.pem"), "could not load the X509 key pair"),
        (("names", "server.pem", "server-key.pem"), "could not read the CA certificate"),
    ],
)
def test_wrong_files_are_named(certificates: Path, files: tuple[str, str, str], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        tls.server_context(tls.Files(*(str(certificates / name) for name in files)))


def test_tcp_off_loopback_needs_client_certificates(certificates: Path) -> None:
    with pytest.raises(Forbidden, match="refused to listen"):
        ways_in.open_listeners(f"tcp://0.0.0.0:{free_port()}", None, Security())
    (listener,) = ways_in.open_listeners(f"tcp://{HOST}:{free_port()}", None, Security())
    listener.close()
    (listener,) = ways_in.open_listeners(f"tcp://0.0.0.0:{free_port()}", None, Security(insecure=True))
    listener.close()
    files = tls.Files(*(str(certificates / f"{name}.pem") for name in ("ca", "server", "server-key")))
    (listener,) = ways_in.open_listeners(f"tcp://0.0.0.0:{free_port()}", None, Security(files))
    assert listener.tls is not None
    listener.close()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:x", "tcp://127.0.0.1:99999", "tcp://no such host:1"])
def test_a_bad_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid host"):
        ways_in.open_listeners(host, None, Security())


@pytest.mark.parametrize(
    ("headers", "verified", "is_refused"),
    [
        ({"host": "localhost:2375"}, False, False),
        ({"host": "127.0.0.1:2375"}, False, False),
        ({"host": "[::1]:2375"}, False, False),
        ({"host": "engine.example.com"}, False, True),
        ({"host": "engine.example.com"}, True, False),
        ({"host": "localhost:2375", "origin": "http://localhost"}, False, True),
        ({"host": "localhost:2375", "origin": "http://localhost:2375"}, False, False),
        ({"host": "localhost", "origin": "null"}, True, True),
    ],
)
def test_a_web_page_cannot_send_requests(headers: dict[str, str], verified: bool, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(Forbidden):
            ways_in.check_request(headers, verified)
    else:
        ways_in.check_request(headers, verified)


@pytest.mark.only_minidock
def test_the_rules_hold_over_tcp(new_daemon: StartDaemon, daemon_directory: Path) -> None:
    port = free_port()
    new_daemon("tcp", "-H", f"tcp://{HOST}:{port}", "-H", unix(daemon_directory, "tcp"))

    def status(**headers: str) -> int:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        connection.request("GET", "/_ping", headers=headers)
        return connection.getresponse().status

    assert status() == 200
    assert status(Host="rebound.example.com") == 403
    assert status(Origin="http://x") == 403


SERVE = """
import json, os, socket, sys
from minidock.api import ways_in
os.environ["LISTEN_PID"] = str(os.getpid())
passed = [one.socket.getsockname() for one in ways_in.open_listeners(sys.argv[1], None, ways_in.Security())]
print(json.dumps(passed))
"""


@pytest.mark.parametrize(("host", "count"), [("fd://", 2), ("fd://4", 1)])
def test_sockets_that_systemd_passes_are_used(tmp_path: Path, host: str, count: int) -> None:
    made = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for number, one in enumerate(made):
        one.bind(str(tmp_path / f"s{number}"))
        one.listen()
    script = f'exec 3<&{made[0].fileno()} 4<&{made[1].fileno()}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "-", sys.executable, "-c", SERVE, host],
        env={**os.environ, "LISTEN_FDS": "2"},
        pass_fds=[one.fileno() for one in made],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [str(tmp_path / f"s{number}") for number in range(2 - count, 2)]


def test_without_systemd_there_is_nothing_to_listen_on() -> None:
    with pytest.raises(InvalidParameter, match="no sockets were passed"):
        ways_in.open_listeners("fd://", None, Security())
