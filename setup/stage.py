"""The demo's own engine, with its own directories, socket and cgroup, gone without a trace afterwards."""

import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Self

from setup import remains
from setup.play_script import Line
from setup.privilege import Refused

START_TIMEOUT = 20.0


class Stage:
    """A private engine between `with` and its end; `host` is what DOCKER_HOST must be to reach it."""

    def __init__(self, minidock: str, docker: str) -> None:
        self.minidock = minidock
        self.directory = Path(tempfile.mkdtemp(prefix="minidock-demo-", dir="/var/tmp"))
        self.host = f"unix://{self.directory}/run/minidock.sock"
        self.cgroup_parent = f"/{self.directory.name}"
        self._log = self.directory / "daemon.log"
        self._programs = self.directory / "bin"
        self._programs.mkdir()
        for name, path in (("minidock", minidock), ("docker", docker)):
            (self._programs / name).symlink_to(path)
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def perform(self, line: Line) -> str | None:
        """Show a line, run it, and return what is wrong with its outcome, if anything."""
        print(f"$ {line.text}", flush=True)
        code = subprocess.run(["sh", "-c", line.text], env=self.environment(), check=False).returncode
        if code != line.code:
            return f"`{line.text}` ended with exit code {code} instead of {line.code}."
        if code:
            print(f"(exit code {code}, as it should be)", flush=True)
        return None

    def log_tail(self) -> str:
        """Return the last lines that the engine logged."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-15:]
        except OSError:
            return ""
        return "\n".join(["The engine's log ends with:", *lines])

    def environment(self) -> dict[str, str]:
        """Return the variables that a line of the demo sees."""
        path = f"{self._programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        # An empty DOCKER_CONFIG keeps the caller's contexts, proxies and plugins out of the demo.
        return {
            "PATH": path, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.directory / "docker-config"),
            "HOME": str(self.directory), "TERM": os.environ.get("TERM", "dumb"), "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def _start(self) -> None:
        roots = ["--data-root", str(self.directory / "data"), "--exec-root", str(self.directory / "run")]
        command = [self.minidock, "daemon", "-H", self.host, *roots, "--cgroup-parent", self.cgroup_parent]
        with open(self._log, "wb") as log:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        path = urllib.parse.urlsplit(self.host).path
        deadline = time.monotonic() + START_TIMEOUT
        while not remains.answers(path):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise Refused(f"The engine did not start.\n{self.log_tail()}")
            time.sleep(0.02)

    def _remove(self) -> None:
        if self._daemon is not None:
            self._remove_containers()
            remains.terminate(
                self._daemon.pid, lambda: self._daemon is not None and self._daemon.poll() is not None
            )
        remains.end_cgroup(self.cgroup_parent)
        remains.unmount_below(str(self.directory))
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            print(f"Could not remove {self.directory} completely.", flush=True)

    def _remove_containers(self) -> None:
        """Let the engine take its containers away: at its end it then takes its bridge and rules away too."""
        script = "minidock rm -f $(minidock ps -aq)"
        subprocess.run(
            ["sh", "-c", script],
            env=self.environment(),
            capture_output=True,
            timeout=START_TIMEOUT,
            check=False,
        )
