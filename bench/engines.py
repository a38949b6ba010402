"""The contestants that hold containers: each can be reached through a command line, and tells what it costs.

A contestant is made in an ExitStack of the run, on directories of its own, and is gone when the run ends.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.dockerd import SEARCH, PrivateDockerd
from setup import remains
from setup.stage import Stage

IMAGE = "bench/busybox:latest"


class Failed(Exception):
    """A command of a contestant failed, so that this row means nothing for it."""


@dataclass(frozen=True)
class Engine:
    """One engine: the words that start its command line, their environment, and its own processes' ids."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    processes: Callable[[], Sequence[int]]
    no_network: Sequence[str]
    host: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, stdin: Path | None = None, discard: bool = False) -> str:
        """Run one command of this engine to its end and return its output; Failed brings its complaint."""
        with open(stdin or os.devnull, "rb") as source:
            answer = subprocess.run(
                [*self.command, *arguments],
                env=self.environment,
                stdin=source,
                stdout=subprocess.DEVNULL if discard else subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
            )
        if answer.returncode:
            # What follows the first line is advice: Run 'docker run --help' for more information.
            said = answer.stderr.decode(errors="replace").strip().splitlines()[:1]
            raise Failed(f"`{' '.join(arguments[:3])}`: {' '.join(said) or f'exit code {answer.returncode}'}")
        return (answer.stdout or b"").decode(errors="replace").strip()


def minidock(stack: ExitStack, program: str, docker: str) -> Engine:
    """Start a private minidock, driven by the docker command line."""
    stage = stack.enter_context(Stage(program, docker))
    own = {"minidock": program}
    members = lambda: sorted(remains.processes(f"{stage.cgroup_parent}/engine"))  # noqa: E731
    return Engine("minidock", [docker], _environment(stage.host), members, ["--net", "none"], stage.host, own)


def dockerd(stack: ExitStack, directory: Path, docker: str) -> Engine:
    """Start a private dockerd, driven by the same docker command line."""
    peer = stack.enter_context(PrivateDockerd(directory / "dockerd", bridged=True))
    return Engine("dockerd", [docker], _environment(peer.host), peer.processes, ["--net", "none"], peer.host)


def podman(stack: ExitStack, directory: Path) -> Engine:
    """Return podman with private storage; it has no daemon."""
    program = shutil.which("podman", path=SEARCH)
    if program is None:
        raise Failed("podman is not installed")
    top = directory / "podman"
    stack.callback(shutil.rmtree, top, ignore_errors=True)
    stack.callback(remains.unmount_below, str(top))
    own = ["--root", str(top / "root"), "--runroot", str(top / "run"), "--cgroup-manager", "cgroupfs",
           "--events-backend", "file", "--runtime", "runc"]  # fmt: skip
    # Podman raises limits of its own accord, which a root without CAP_SYS_RESOURCE may not.
    environment = {**_environment(""), "TMPDIR": str(directory)}
    return Engine(
        "podman",
        [program, *own],
        environment,
        list,
        ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"],
    )


def _environment(host: str) -> dict[str, str]:
    """Return a clean environment; an empty DOCKER_CONFIG keeps contexts and plugins of the caller out."""
    chosen = {"PATH": SEARCH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
    return chosen | ({"DOCKER_HOST": host, "DOCKER_CONFIG": "/nonexistent"} if host else {})
