"""Low-level runtimes on one OCI bundle: runc, crun and minidock-runc, each run as one command."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import images
from bench.dockerd import SEARCH
from bench.engines import Failed
from minidock.runtime.client import Spawner
from minidock.runtime.requests import LaunchRequest

NAMESPACES = ("pid", "mount", "ipc", "uts", "network")


def bundle(directory: Path) -> Path:
    """Make a bundle of one static busybox that runs `true`, and return it."""
    programs = directory / "rootfs" / "bin"
    programs.mkdir(parents=True)
    shutil.copy2(images.static_busybox(), programs / "busybox")
    (programs / "true").symlink_to("busybox")
    for name in ("proc", "dev", "sys", "tmp"):
        (directory / "rootfs" / name).mkdir()
    spec = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
    }
    (directory / "config.json").write_text(json.dumps(spec, indent=2))
    return directory


def commands(directory: Path, minidock_runc: str | None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield each installed runtime with the action that runs the bundle once."""
    for name, program in (
        ("runc", shutil.which("runc", path=SEARCH)),
        ("crun", shutil.which("crun", path=SEARCH)),
        ("minidock-runc", minidock_runc),
    ):
        if program is not None:
            yield name, _runner(program, directory)


@contextmanager
def warm(directory: Path) -> Iterator[Callable[[], None]]:
    """Yield the action that runs the bundle through a spawner of our own, as the engine does."""
    spec = json.loads((directory / "config.json").read_text())
    spec["root"]["path"] = str(directory / "rootfs")
    counter = iter(range(1_000_000))
    spawner = Spawner.start()

    def act() -> None:
        name = f"bench-{os.getpid()}-warm-{next(counter)}"
        spec["linux"]["cgroupsPath"] = f"/{name}"
        state = directory / name
        state.mkdir()
        shim = spawner.launch(LaunchRequest(name, str(state), str(state / "run"), spec))
        end = shim.read_event()
        shim.close()
        if end is None or end["exit_code"]:
            raise Failed(f"the warm runtime ended with {end}")

    try:
        yield act
    finally:
        spawner.close()


def _runner(program: str, directory: Path) -> Callable[[], None]:
    counter = iter(range(1_000_000))

    def act() -> None:
        name = f"bench-{os.getpid()}-{next(counter)}"
        command = [program, "--root", str(directory / "state" / os.path.basename(program)), "run"]
        answer = subprocess.run(
            [*command, "--bundle", str(directory), name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise Failed((answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1])

    return act
