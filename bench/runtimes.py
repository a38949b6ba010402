"""Low-level runtimes on one OCI bundle: runc, crun and minidock-runc, each run as one command."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import images
from bench.dockerd import SEARCH
from bench.engines import Failed

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
