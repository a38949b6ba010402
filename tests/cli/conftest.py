"""An engine for the command line to talk to, our command line as a process, and docker's own as the oracle.

With MINIDOCK_TEST_HOST=unix:///path the tests use that engine (a dockerd too) instead of starting one.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IMPORT = "from minidock.cli.main import run_and_exit; run_and_exit()"
CLI = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.pycache_prefix = {sys.pycache_prefix!r}; {IMPORT}"
MINIDOCK = [sys.executable, "-I", "-S", "-c", CLI]
APPLETS = ("sh", "echo", "cat", "sleep", "true", "false", "stty", "head")
IMAGE = "minidock-cli-test:latest"
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
TIME_SCALE = float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))  # an emulated machine is slower


@pytest.fixture(scope="session")
def host() -> Iterator[str]:
    """Yield the address of an engine: MINIDOCK_TEST_HOST, else one of our own."""
    given = os.environ.get("MINIDOCK_TEST_HOST", "")
    if given:
        yield given
        return
    directory = Path(tempfile.mkdtemp(prefix="minidock-cli-", dir="/var/tmp"))
    address = f"unix://{directory}/run/minidock.sock"
    parent = f"/{directory.name}"
    roots = ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/run", "--cgroup-parent", parent]
    roots += ["--bridge", "none"]  # no links and rules on the host; tests/network has a namespace for them
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [*MINIDOCK, "daemon", *roots], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    _await_socket(process, directory)
    yield address
    left = _run([*MINIDOCK, "-H", address], "ps", "-aq").stdout.decode().split()
    if left:
        _run([*MINIDOCK, "-H", address], "rm", "-f", *left)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30 * TIME_SCALE)
    for base in ("/sys/fs/cgroup", *map(str, Path("/sys/fs/cgroup").iterdir())):
        for path in sorted(Path(f"{base}{parent}").glob("**"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
    shutil.rmtree(directory)


def _await_socket(process: "subprocess.Popen[bytes]", directory: Path) -> None:
    deadline = time.monotonic() + 30 * TIME_SCALE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"{directory}/run/minidock.sock")
            return
        time.sleep(0.02)
    raise AssertionError((directory / "log").read_text())


def _run(command: list[str], *words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    options.setdefault("input", b"")
    return subprocess.run(
        [*command, *words], capture_output=True, timeout=60 * TIME_SCALE, check=False, **options
    )


def environment(host: str) -> dict[str, str]:
    """Return an environment that leads to `host` only, without the user's docker configuration."""
    return {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": host,
        "HOME": "/nonexistent",
        "DOCKER_CONFIG": "/nonexistent",
    }


@pytest.fixture
def minidock(host: str) -> Run:
    """Return the function that runs our command line on the engine."""

    def run(*words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        return _run(MINIDOCK, *words, env=environment(host), **options)

    return run


@pytest.fixture
def docker(host: str, docker28: str) -> Run:
    """Return the function that runs docker's command line on the same engine."""

    def run(*words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        return _run([docker28], *words, env=environment(host), **options)

    return run


@pytest.fixture(scope="session")
def docker28() -> str:
    """Return the path of a docker command line 28, the version whose words we use; skip without one."""
    path = shutil.which("docker") or "/nonexistent"
    with contextlib.suppress(OSError):
        version = subprocess.run([path, "--version"], capture_output=True, check=False, text=True).stdout
        if version.startswith("Docker version 28."):
            return path
    pytest.skip("no docker command line 28 on this machine")


@pytest.fixture(scope="session")
def image(host: str) -> str:
    """Return the name of an image with busybox."""
    answer = _run(MINIDOCK, "import", "-", IMAGE, env=environment(host), input=busybox_tar())
    assert answer.returncode == 0, answer.stderr
    return IMAGE


@pytest.fixture
def name(minidock: Run) -> Iterator[str]:
    """Yield a container name of this test's own; the container is removed afterwards."""
    chosen = f"cli-{os.urandom(6).hex()}"
    yield chosen
    minidock("rm", "-f", chosen)


def busybox_tar() -> bytes:
    """Return a root file system: the host's static busybox and a few names for it."""
    path = Path("/bin/busybox")
    if not path.exists():
        pytest.skip("no static busybox on this machine")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add(path, "bin/busybox", filter=lambda entry: entry)
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


class Recorder:
    """A server on a unix socket that answers everything kindly and remembers what it was asked."""

    def __init__(self, path: str) -> None:
        self.host = f"unix://{path}"
        self.requests: list[tuple[str, str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def created(self) -> tuple[str, Any]:
        """Return target and body of the one create request."""
        found = [(target, body) for _, target, body in self.requests if "/containers/create" in target]
        self.requests.clear()
        return found[0] if found else ("", None)

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while line := stream.readline():
            method, target, _ = line.decode().split()
            length = 0
            while header := stream.readline().strip():
                key, _, value = header.partition(b":")
                length = int(value) if key.lower() == b"content-length" else length
            body = stream.read(length)
            self.requests.append((method, target, json.loads(body) if body else None))
            answer = b'{"Id":"%s","Warnings":[]}' % (b"a" * 64) if "create" in target else b"{}"
            answer = b"" if method == "HEAD" else answer
            status = b"201 Created" if "create" in target else b"200 OK"
            connection.sendall(
                b"HTTP/1.1 %s\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (status, len(answer), answer)
            )


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Yield a recording server."""
    server = Recorder(str(tmp_path / "s"))
    yield server
    server.close()
