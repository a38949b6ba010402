"""A bench for the runtime: a busybox root, a spawner, and words to run a container and see how it ended.

Everything a test starts is below one cgroup and one temporary directory of its own; when the test is over,
whatever it left is an error of the runtime, and the fixture says so.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroups, mounts, namespaces, process
from minidock.runtime import logs
from minidock.runtime.client import Shim, Spawner
from minidock.runtime.requests import (
    STDIN_NONE,
    STDIN_ONCE,
    AttachClient,
    ExecRequest,
    LaunchRequest,
    LogOptions,
)

PATIENCE = 60.0 * float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))
FOURTEEN = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE"
    " SYS_CHROOT KILL AUDIT_WRITE"
)
CAPABILITIES = [f"CAP_{name}" for name in FOURTEEN.split()]
PRIVATE = ("mount", "pid", "ipc", "uts", "network")
ENVIRONMENT = ["PATH=/bin:/usr/bin", "TERM=xterm"]
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/sys",
        "type": "sysfs",
        "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
]


@dataclass
class Ended:
    """How a run ended: exit code, both streams, and the shim's exit event."""

    code: int
    out: str
    err: str
    event: dict[str, Any] = field(default_factory=dict)


class Peer:
    """The far end of an attached client, read by a thread so that no test can dead-lock on a full socket."""

    def __init__(self, framed: bool = True, reading: bool = True, **wants: Any) -> None:
        self.socket, self._theirs = socket.socketpair()
        wants = {"stdout": True, "stderr": True, **wants}
        self.client = AttachClient(self._theirs.fileno(), framed=framed, **wants)
        self.framed = framed
        self.data = bytearray()
        self.error: OSError | None = None
        self._grown = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self._thread.start()

    def start_reading(self) -> None:
        """Begin to read, for a peer that was made deaf."""
        self._thread.start()

    def handed_over(self) -> None:
        """Close our copy of the shim's end: from now on its close is our end of file."""
        self._theirs.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def wait(self) -> "Peer":
        """Wait for the end of the stream."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"the stream did not end; so far {bytes(self.data[-200:])!r}"
        return self

    def wait_for(self, text: bytes) -> bytes:
        """Wait until `text` has come; return everything so far."""
        with self._grown:
            found = self._grown.wait_for(lambda: text in self.data or self._is_over, PATIENCE)
            assert found, f"{text!r} did not come; so far {bytes(self.data[-500:])!r}"
            assert text in self.data, f"the stream ended without {text!r}: {bytes(self.data[-500:])!r}"
            return bytes(self.data)

    def streams(self) -> dict[int, bytes]:
        """Take the frames apart: 1 is stdout, 2 stderr."""
        if not self.framed:
            return {1: bytes(self.data), 2: b""}
        found, rest = {1: b"", 2: b""}, memoryview(bytes(self.data))
        while rest:
            stream, size = struct.unpack(">BxxxL", rest[:8])
            found[stream] += bytes(rest[8 : 8 + size])
            assert len(rest) >= 8 + size, "a frame was cut"
            rest = rest[8 + size :]
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        with contextlib.suppress(OSError):
            self._theirs.close()

    def _read(self) -> None:
        try:
            while chunk := self.socket.recv(1 << 16):
                with self._grown:
                    self.data += chunk
                    self._grown.notify_all()
        except OSError as error:
            self.error = error
        with self._grown:
            self._is_over = True
            self._grown.notify_all()


class Running:
    """One launched container of a Bench."""

    def __init__(self, shim: Shim, identifier: str, directory: str, cgroup: str, peers: list[Peer]) -> None:
        self.shim, self.identifier, self.directory, self.cgroup = shim, identifier, directory, cgroup
        self.peers = peers
        self.events: list[dict[str, Any]] = []

    @property
    def pid(self) -> int:
        return self.shim.pid

    @property
    def log_path(self) -> str:
        return os.path.join(self.directory, "log.json")

    @property
    def socket_directory(self) -> str:
        return os.path.join(self.directory, "shim")

    def event(self, name: str, **members: Any) -> dict[str, Any]:
        """Wait for an event with these members."""
        self.shim.events.settimeout(PATIENCE)
        while True:
            for found in self.events:
                if found["event"] == name and members.items() <= found.items():
                    return found
            received = self.shim.read_event()
            assert received is not None, f"the shim ended without {name}; events {self.events}"
            self.events.append(received)

    def wait(self) -> Ended:
        """Wait for the end of the container."""
        event = self.event("exit")
        streams = self.peers[0].wait().streams() if self.peers else {1: b"", 2: b""}
        out, err = (streams[number].decode(errors="replace") for number in (1, 2))
        return Ended(event["exit_code"], out, err, event)

    def wait_for_shim(self) -> None:
        """Wait until the shim itself is gone."""
        poll = select.poll()
        poll.register(self.shim.pidfd, select.POLLIN)
        assert poll.poll(PATIENCE * 1000), "the shim did not end"

    def attach(self, **options: Any) -> Peer:
        peer = Peer(**options)
        self.peers.append(peer)
        self.shim.attach(peer.client)
        peer.handed_over()
        return peer

    def execute(self, *arguments: str, stdin: bytes | None = None, **changes: Any) -> Ended:
        """Run one more program and wait for it."""
        identifier, peer = self.begin_exec(*arguments, stdin=stdin, **changes)
        event = self.event("exec_exit", id=identifier)
        streams = peer.wait().streams()
        return Ended(event["exit_code"], streams[1].decode(), streams[2].decode(), event)

    def begin_exec(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        framed: bool = True,
        seccomp: bytes = b"",
        **changes: Any,
    ) -> tuple[str, Peer]:
        identifier = uuid.uuid4().hex
        peer = Peer(framed=framed, stdin=stdin is not None)
        self.peers.append(peer)
        described = process_of(*arguments, **changes)
        request = ExecRequest(identifier, described, seccomp, stdin is not None, [peer.client])
        try:
            self.shim.execute(request)
        finally:
            peer.handed_over()
        if stdin is not None:
            peer.send(stdin)
            peer.half_close()
        return identifier, peer

    def end(self) -> None:
        """Kill the container, wait for its shim, and check that both left nothing."""
        for peer in self.peers:
            peer.close()
        with contextlib.suppress(OSError):
            if process.start_time(self.pid) == self.shim.start_time:
                os.kill(self.pid, signal.SIGKILL)
        group = cgroups.at(self.cgroup)
        self.wait_for_shim()
        self.shim.close()
        assert not group.exists(), f"cgroup {self.cgroup} was left"
        assert not os.path.exists(self.socket_directory), "the control socket was left"


def process_of(*arguments: str, **changes: Any) -> dict[str, Any]:
    """Return a `process` object with Docker's defaults, changed by OCI members given as keywords."""
    rights = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    return {"args": list(arguments), "env": ENVIRONMENT, "cwd": "/", "capabilities": rights, **changes}


class Bench:
    """Runs containers and remembers them, so that `close` can end what a test did not."""

    def __init__(self, spawner: Spawner, directory: Path, root: Path, parent: str) -> None:
        self.spawner, self.directory, self.root, self.parent = spawner, directory, root, parent
        self.containers: list[Running] = []

    def spec(self, *arguments: str, linux: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Return Docker's usual spec; `process_*` keywords change the process, `linux` what is below it."""
        described = {
            name.removeprefix("process_"): changes.pop(name)
            for name in list(changes)
            if name.startswith("process_")
        }
        return {
            "ociVersion": "1.0.2",
            "process": process_of(*arguments, **described),
            "root": {"path": str(self.root)},
            "hostname": "bench",
            "mounts": MOUNTS,
            "linux": {
                "namespaces": [{"type": name} for name in PRIVATE],
                "cgroupsPath": f"{self.parent}/{uuid.uuid4().hex}",
                **(linux or {}),
            },
            **changes,
        }

    def shell(self, script: str, **changes: Any) -> dict[str, Any]:
        """Return the spec of a shell that runs `script`."""
        return self.spec("/bin/sh", "-c", script, **changes)

    def request(self, spec: Mapping[str, Any], **options: Any) -> LaunchRequest:
        identifier = uuid.uuid4().hex
        directory = self.directory / identifier[:12]
        directory.mkdir()
        log = options.pop("log", None) or LogOptions("json-file", str(directory / "log.json"))
        return LaunchRequest(identifier, str(directory), str(directory / "shim"), spec, log=log, **options)

    def launch(self, spec: Mapping[str, Any], *peers: Peer, **options: Any) -> Running:
        request = self.request(spec, clients=[peer.client for peer in peers], **options)
        try:
            shim = self.spawner.launch(request)
        except Exception:
            for peer in peers:
                peer.close()
            raise
        for peer in peers:
            peer.handed_over()
        cgroup = spec.get("linux", {}).get("cgroupsPath") or f"{self.parent}/none"
        running = Running(shim, request.identifier, request.directory, cgroup, list(peers))
        self.containers.append(running)
        return running

    def run(self, spec: Mapping[str, Any], stdin: bytes | None = None, **options: Any) -> Ended:
        """Run to the end with one attached client; `stdin` is written and closed."""
        options.setdefault("stdin", STDIN_NONE if stdin is None else STDIN_ONCE)
        terminal = spec["process"].get("terminal", False)
        peer = Peer(framed=not terminal, stdin=stdin is not None)
        running = self.launch(spec, peer, **options)
        if stdin is not None:
            peer.send(stdin)
            peer.half_close()
        return running.wait()

    def output(self, script: str, **changes: Any) -> str:
        """Return what a shell script prints in a container; it must succeed."""
        ended = self.run(self.shell(script, **changes))
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.out

    def make_peer(self, **options: Any) -> Peer:
        return Peer(**options)

    def log(self, running: Running) -> list[logs.Record]:
        reader = logs.Reader(running.log_path)
        try:
            return list(reader.read_new())
        finally:
            reader.close()

    def close(self) -> None:
        for running in self.containers:
            running.end()


@dataclass
class Runc:
    """One of the command lines `runc`: ours or the real one, with a state directory of its own."""

    command: list[str]
    state: str
    parent: str

    def __call__(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": PATIENCE, **options}
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run([*self.command, "--root", self.state, *words], check=False, **options)
        assert not check or result.returncode == 0, result
        return result

    def state_of(self, name: str) -> dict[str, Any]:
        return json.loads(self("state", name).stdout)

    def await_status(self, name: str, status: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.state_of(name)["status"] != status:
            assert time.monotonic() < deadline, f"{name} did not become {status}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root directory with busybox and its applets."""
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "etc", "tmp", "root", "home/user", "dev", "proc", "sys", "usr/bin"):
        (root / name).mkdir(parents=True)
    (root / "home/user").chmod(0o777)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout
    for name in applets.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser::1000:1000::/home/user:/bin/sh\n")
    (root / "bin/not-executable").write_text("#!/bin/sh\n")
    (root / "bin/garbage").write_bytes(b"\x7fELF nonsense")
    (root / "bin/garbage").chmod(0o755)
    return root


@pytest.fixture(scope="session")
def cgroup_parent() -> Iterator[str]:
    """Yield this worker's cgroup, below which all containers are; it must end up empty."""
    path = f"/minidock-test-{os.getpid()}"
    yield path
    cgroups.at(path).delete()


@pytest.fixture(scope="session")
def spawner() -> Iterator[Spawner]:
    """Yield this worker's spawner."""
    running = Spawner.start()
    yield running
    running.close()


@pytest.fixture
def bench(spawner: Spawner, tmp_path: Path, busybox_root: Path, cgroup_parent: str) -> Iterator[Bench]:
    """Yield the bench; what the test left running is killed, and what it left behind is found."""
    made = Bench(spawner, tmp_path, busybox_root, cgroup_parent)
    yield made
    made.close()


@pytest.fixture
def make_bench(tmp_path: Path, busybox_root: Path, cgroup_parent: str) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a bench with a given spawner."""
    made: list[Bench] = []

    def make(spawner: Spawner) -> Bench:
        made.append(Bench(spawner, tmp_path, busybox_root, cgroup_parent))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def peer() -> Callable[..., Peer]:
    """Return the class of a client's far end."""
    return Peer


@pytest.fixture
def own_root(bench: Bench, tmp_path: Path, busybox_root: Path) -> Path:
    """Return a copy of the root that the test may spoil; `bench` uses it."""
    root = tmp_path / "rootfs"
    shutil.copytree(busybox_root, root, symlinks=True)
    bench.root = root
    return root


@pytest.fixture
def minidock_runc(tmp_path: Path, cgroup_parent: str) -> Iterator[Runc]:
    """Yield our runc; every container left in it is killed."""
    start = "from minidock.runtime.runc import main; main()"
    yield from _runc([sys.executable, "-c", start], tmp_path / "state-minidock", cgroup_parent)


@pytest.fixture
def real_runc(tmp_path: Path, cgroup_parent: str) -> Iterator[Runc]:
    """Yield the real runc."""
    program = shutil.which("runc", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert program is not None, "the test lacks its oracle marker"
    yield from _runc([program], tmp_path / "state-runc", cgroup_parent)


def _runc(command: list[str], state: Path, parent: str) -> Iterator[Runc]:
    made = Runc(command, str(state), parent)
    yield made
    for name in os.listdir(state) if state.exists() else ():
        made("delete", "--force", name)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that writes a spec as a bundle and returns its directory."""

    def make(spec: Mapping[str, Any]) -> str:
        directory = tmp_path / f"bundle-{uuid.uuid4().hex[:8]}"
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(spec))
        return str(directory)

    return make


def run_in_child(body: Callable[[], Any], flags: int = 0) -> Any:
    """Return what `body()` returns (JSON values) in a child made by clone(flags); it must succeed."""
    reading, writing = os.pipe()
    pid = process.clone(flags)
    if pid == 0:
        try:
            answer = {"value": body()}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
    assert data, f"the child ended without an answer, status {status:#x}"
    answer = json.loads(data)
    assert "error" not in answer, f"in the child: {answer['error']}"
    return answer["value"]


@pytest.fixture
def in_child() -> Callable[..., Any]:
    """Return the function that runs a body in a child process."""
    return run_in_child


@pytest.fixture(params=["private", "shared"])
def in_mount_sandbox(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return the function that runs a body in a mount namespace whose tree is all private or all shared."""
    propagation = mounts.MS_SHARED if request.param == "shared" else mounts.MS_PRIVATE

    def run(body: Callable[[], Any]) -> Any:
        def prepared() -> Any:
            mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
            mounts.mount(None, "/", None, mounts.MS_REC | propagation)
            return body()

        return run_in_child(prepared, namespaces.CLONE_NEWNS)

    return run


def eventually(predicate, what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
