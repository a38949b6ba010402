"""An engine under test, a plain HTTP client for it, and Docker's published schema as an oracle.

The engine is a daemon of its own per test process: own data root, exec root, socket and cgroup parent, all
of which are gone afterwards, and that is checked. With MINIDOCK_TEST_HOST=unix:///path the same tests ask
that engine instead, which may be a dockerd: what they assert must then be Docker's behaviour, and cases
that are ours alone are skipped.
"""

import contextlib
import http.client
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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import yaml

SCHEMA_PATH = Path(__file__).parents[3] / "shared" / "data" / "engine-api-v1.50.yaml"
HOST_VARIABLE = "MINIDOCK_TEST_HOST"
IMAGE = f"minidock-api-test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}:latest"
APPLETS = "chroot sh echo cat sleep true false id stty kill yes head tail seq grep env mknod"
START_TIMEOUT = 30.0 * float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))
NULL_IN_DOCKER = ("MemorySwappiness", "OomKillDisable")
"""dockerd itself answers null for these, though the schema does not say so."""
DAEMON = "import sys; from minidock.api.daemon import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Answer:
    """One answer of the engine; header names are lower case."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The error's words."""
        return str(self.json["message"])

    @property
    def lines(self) -> list[Any]:
        """The messages of a progress or event stream."""
        return [json.loads(line) for line in self.body.splitlines()]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """Asks one engine, with a new connection for each request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.created: list[str] = []

    def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request; `body` is bytes, a file or iterable (sent in chunks), or data for JSON."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        with contextlib.closing(UnixConnection(self.path)) as connection:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, response.read(), names)
        if response.status == 201 and "/containers/create" in target:
            self.created.append(str(answer.json["Id"]))
        return answer

    def get(self, target: str) -> Answer:
        return self.request("GET", target)

    def post(self, target: str, body: Any = None) -> Answer:
        return self.request("POST", target, body)

    def delete(self, target: str) -> Answer:
        return self.request("DELETE", target)

    def connect(self) -> socket.socket:
        """Return a bare connection to the engine."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(START_TIMEOUT)
        connection.connect(self.path)
        return connection

    def begin(self, method: str, target: str) -> http.client.HTTPResponse:
        """Send a request and return as soon as the answer's headers are there."""
        connection = UnixConnection(self.path)
        connection.request(method, target)
        return connection.getresponse()

    def create(self, *command: str, name: str = "", host: dict[str, Any] | None = None, **config: Any) -> str:
        """Create a container of the test image and return its id."""
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": {"NetworkMode": "none", **(host or {})}}
        answer = self.post(f"/containers/create?name={quote(name)}", {**body, **config})
        assert answer.status == 201, answer.body
        return str(answer.json["Id"])

    def start(self, identifier: str) -> None:
        answer = self.post(f"/containers/{identifier}/start")
        assert answer.status == 204, answer.body

    def run(self, *command: str, **options: Any) -> tuple[str, int]:
        """Run a container to its end; return its id and exit code."""
        identifier = self.create(*command, **options)
        self.start(identifier)
        return identifier, int(self.post(f"/containers/{identifier}/wait").json["StatusCode"])

    def inspect(self, identifier: str) -> Any:
        answer = self.get(f"/containers/{identifier}/json")
        assert answer.status == 200, answer.body
        return answer.json


class Schema:
    """The API schema v1.50: are these fields documented, is this reply an allowed one?"""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def properties(self, name: str) -> dict[str, Any]:
        """Return the properties of a definition, those of its `allOf` parts included."""
        return self._properties(self.document["definitions"][name])

    def paths(self) -> Iterator[tuple[str, str]]:
        """Yield (METHOD, path) for every documented operation."""
        for path, operations in self.document["paths"].items():
            for method in operations:
                yield method.upper(), path

    def validate(self, reply: Any, method: str, path: str, status: int = 200) -> None:
        """Check a reply against the schema of the route's answer; the AssertionError lists what is wrong."""
        schema = self.document["paths"][path][method.lower()]["responses"][status]["schema"]
        whole = {**schema, "definitions": self.document["definitions"]}
        if "$ref" in schema:
            whole = {"allOf": [schema], "definitions": self.document["definitions"]}
        found = jsonschema.Draft4Validator(whole).iter_errors(reply)
        problems = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]
        assert problems == []

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return self.properties(schema["$ref"].rpartition("/")[2])
        found = dict(schema.get("properties", {}))
        for part in schema.get("allOf", ()):
            found |= self._properties(part)
        return found


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Return Docker's schema; it is not part of the repository."""
    if not SCHEMA_PATH.exists():
        pytest.skip("the API schema (shared/data/engine-api-v1.50.yaml beside the checkout) is not there")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = _with_nulls(yaml.load(SCHEMA_PATH.read_text(encoding="utf-8"), loader))
    for name in NULL_IN_DOCKER:
        field = document["definitions"]["Resources"]["properties"][name]
        field["type"] = [field["type"], "null"]
    return Schema(document)


@pytest.fixture(scope="session")
def daemon_directory() -> Iterator[Path]:
    """Yield a directory for engines of this test process, on a disk that overlayfs accepts."""
    directory = Path(tempfile.mkdtemp(prefix="minidock-api-", dir="/var/tmp"))
    yield directory
    shutil.rmtree(directory)


@dataclass
class Daemon:
    """One minidock daemon started by a test."""

    process: subprocess.Popen[bytes]
    directory: Path
    cgroup_parent: str

    @property
    def socket_path(self) -> str:
        return str(self.directory / "run" / "minidock.sock")

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def client(self) -> Client:
        return Client(self.socket_path)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=START_TIMEOUT)


StartDaemon = Callable[..., Daemon]


def start_daemon(directory: Path, *options: str) -> Daemon:
    """Start a daemon with its roots in `directory` and wait until it answers."""
    directory.mkdir(exist_ok=True)
    parent = f"/minidock-test-{directory.parent.name}-{directory.name}"
    roots = ["--data-root", str(directory / "data"), "--exec-root", str(directory / "run")]
    command = [sys.executable, "-c", DAEMON, *roots, "--cgroup-parent", parent, "--bridge", "none", *options]
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    daemon = Daemon(process, directory, parent)
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if daemon.client().get("/_ping").status == 200:
                return daemon
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"the daemon did not start:\n{daemon.log}")


def end_daemon(daemon: Daemon) -> None:
    """Remove the containers, stop the daemon, and check that nothing of it is left (what is, is killed)."""
    status = 0
    if daemon.process.poll() is None:
        client = daemon.client()
        for container in client.get("/containers/json?all=1").json:
            client.delete(f"/containers/{container['Id']}?force=1&v=1")
        status = daemon.stop()
    left = {pid for path in cgroup_directories(daemon.cgroup_parent) for pid in processes_in(path)}
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for path in cgroup_directories(daemon.cgroup_parent):
        _remove_cgroup(path)
    assert status == 0, daemon.log
    assert left == set()
    assert str(daemon.directory) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="session")
def daemon(daemon_directory: Path) -> Iterator[Daemon]:
    """Yield this test process's own daemon."""
    daemon = start_daemon(daemon_directory / "shared")
    yield daemon
    end_daemon(daemon)


@pytest.fixture
def new_daemon(daemon_directory: Path) -> Iterator[StartDaemon]:
    """Return the function that starts one more daemon for this test; the same name means the same roots."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *options: str) -> Daemon:
            daemon = start_daemon(daemon_directory / name, *options)
            stack.callback(end_daemon, daemon)  # the last first: an earlier one may have had its roots
            return daemon

        yield start


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Client:
    """Return a client of the engine under test: ours, or the one that MINIDOCK_TEST_HOST names."""
    host = os.environ.get(HOST_VARIABLE, "")
    if host:
        return Client(host.removeprefix("unix://"))
    daemon: Daemon = request.getfixturevalue("daemon")
    return daemon.client()


@pytest.fixture
def refusals() -> tuple[int, ...]:
    """Return the statuses of a bad request: 400, and for a dockerd of 2020 sometimes 500."""
    return (400, 500) if os.environ.get(HOST_VARIABLE) else (400,)


@pytest.fixture(scope="session")
def image(client: Client) -> Iterator[str]:
    """Yield the name of an image with busybox, imported into the engine under test."""
    repository, _, tag = IMAGE.partition(":")
    answer = client.post(f"/images/create?fromSrc=-&repo={repository}&tag={tag}", busybox_tar())
    assert answer.status == 200, answer.body
    yield IMAGE
    client.delete(f"/images/{IMAGE}?force=1")


@pytest.fixture
def containers(client: Client, image: str) -> Iterator[Client]:
    """Yield a client; every container that the test makes with it is removed afterwards."""
    own = Client(client.path)
    yield own
    for identifier in own.created:
        client.delete(f"/containers/{identifier}?force=1&v=1")


def busybox_tar() -> bytes:
    """Return a root file system: the host's static busybox and a few names for it."""
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if busybox is None:
        pytest.skip("no static busybox on this machine")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in ("bin", "etc", "tmp", "root"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        data = Path(busybox).read_bytes()
        entry.size, entry.mode = len(data), 0o755
        archive.addfile(entry, io.BytesIO(data))
        for applet in APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def cgroup_directories(parent: str) -> list[Path]:
    """Return every directory at or below cgroup `parent` in every hierarchy, the deepest first."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(words[1]) for words in mounts if words[2] in ("cgroup", "cgroup2")]
    tops = [root / parent.lstrip("/") for root in roots]
    found = [Path(path) for top in tops for path, _, _ in os.walk(top)]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def processes_in(path: Path) -> list[int]:
    """Return the processes in one cgroup directory; none when it is gone."""
    with contextlib.suppress(OSError):
        return [int(line) for line in (path / "cgroup.procs").read_text().split()]
    return []


def _remove_cgroup(path: Path) -> None:
    """Remove a cgroup directory; the kernel may need a moment after its last process."""
    for _ in range(100):
        try:
            return path.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.02)
    return path.rmdir()


def _with_nulls(node: Any) -> Any:
    """Turn Swagger's `x-nullable` into JSON Schema, and let lists and maps be null, as Go writes them."""
    if isinstance(node, list):
        return [_with_nulls(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_nulls(value) for key, value in node.items()}
    kind = node.get("type")
    if isinstance(kind, str) and (node.get("x-nullable") or kind in ("array", "object")):
        node["type"] = [kind, "null"]
        if "enum" in node:
            node["enum"] = [*node["enum"], None]
    return node


def eventually(true: Callable[[], bool]) -> bool:
    """Wait for something that must come, for at most half a minute."""
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()
