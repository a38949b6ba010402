"""The real docker command line: the user's own, else the single program out of Debian's package.

Only the client is unpacked, into a cache: nothing is installed, no engine comes along, no service can start.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from setup import packages, places
from setup.privilege import Refused

# From Debian 13 on the client has a package of its own; in Debian 12 and Ubuntu it is part of docker.io.
PACKAGES = ("docker-cli", "docker.io")


def find() -> str | None:
    """Return the docker client to use, or None when one must be unpacked first."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, "docker")
        if os.access(path, os.X_OK) and _is_docker(path):
            return path
    unpacked = str(places.docker_client())
    return unpacked if os.access(unpacked, os.X_OK) else None


def package() -> str | None:
    """Return the package that holds the client, or None when the package lists know none."""
    return next((name for name in PACKAGES if packages.candidate(name)), None)


def unpack() -> str:
    """Download the package as whoever runs us, take the client out of it, and return the client's path."""
    name = package()
    if name is None:
        raise Refused(
            "No docker client on PATH, and the package lists know neither docker-cli nor docker.io."
        )
    target = places.docker_client()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        answer = subprocess.run(
            ["apt-get", "-q", "download", name], cwd=folder, capture_output=True, text=True, check=False
        )
        archives = list(Path(folder).glob("*.deb"))
        if answer.returncode or not archives:
            raise Refused(f"`apt-get download {name}` failed: {answer.stderr.strip()}")
        _extract(archives[0], Path(folder), target)
    return str(target)


def _extract(archive: Path, folder: Path, target: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpacker:
        tar = ["tar", "-x", "-C", str(folder), "--no-same-owner", "./usr/bin/docker"]
        done = subprocess.run(tar, stdin=unpacker.stdout, check=False).returncode
    program = folder / "usr" / "bin" / "docker"
    if done or not program.is_file():
        raise Refused(f"{archive.name} holds no /usr/bin/docker.")
    os.rename(program, target)


def _is_docker(path: str) -> bool:
    """Tell Docker's own client from podman's imitation of it."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.startswith("Docker version") and shutil.which(path) is not None
