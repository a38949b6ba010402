"""A private dockerd: own directories, socket, mount and network namespace; the host's Docker never notices.

    python -m bench.dockerd COMMAND...     (runs COMMAND with MINIDOCK_TEST_HOST naming a private dockerd)

unshare(1) makes the namespaces and becomes dockerd, so our child *is* dockerd. Its socket is an ordinary file
and works across mount namespaces; its overlay mounts stay in its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from setup import remains

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
SEARCH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
OPTIONS = ("--storage-driver=overlay2",)
WITHOUT_NETWORK = ("--bridge=none", "--iptables=false")


class StartFailed(Exception):
    """A peer did not start; the message holds the end of its log."""


class PrivateDockerd:
    """A dockerd between `with` and its end; `host` is its DOCKER_HOST.

    With `bridged` it makes its bridge and its rules, with `in_this_network` in the network namespace of the
    thread that starts it.
    """

    def __init__(self, directory: Path, bridged: bool = False, in_this_network: bool = False) -> None:
        self.directory = directory
        self._own = () if in_this_network else ("--net",)
        self._options = OPTIONS if bridged else OPTIONS + WITHOUT_NETWORK
        self.host = f"unix://{directory}/docker.sock"
        self._log = directory / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("dockerd", path=SEARCH)
        if program is None:
            raise StartFailed("dockerd is not installed")
        self.directory.mkdir(parents=True, exist_ok=True)
        places = {"--data-root": "data", "--exec-root": "run", "--pidfile": "pid"}
        own = [word for option, name in places.items() for word in (option, str(self.directory / name))]
        command = [
            program,
            "-H",
            self.host,
            *own,
            *self._options,
            "--cgroup-parent",
            f"/dockerd-{os.getpid()}",
        ]
        inside = ["unshare", "--mount", *self._own, *command]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": SEARCH}
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def processes(self) -> list[int]:
        """Return dockerd, its containerd and their shims: the engine itself, without any program."""
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return False
        known = ("dockerd", "containerd", "containerd-shim-runc-v2")
        return os.path.basename(words[0]) in known and any(str(self.directory) in word for word in words)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not remains.answers(self.host.removeprefix("unix://")):
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
                raise StartFailed(f"dockerd did not start:\n{tail}")
            time.sleep(0.1)

    def _stop(self) -> None:
        """End dockerd, which ends its containerd (PR_SET_PDEATHSIG), then the shims that outlive both."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        remains.end_cgroup(f"/dockerd-{os.getpid()}")
        remains.unmount_below(str(self.directory))
        shutil.rmtree(self.directory, ignore_errors=True)


def main(command: Sequence[str]) -> int:
    """Run a command beside a private dockerd and return its exit code."""
    directory = Path(tempfile.mkdtemp(prefix="minidock-dockerd-", dir="/var/tmp"))
    with PrivateDockerd(directory) as engine:
        environment = {**os.environ, "MINIDOCK_TEST_HOST": engine.host}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StartFailed as error:
        sys.exit(str(error))
