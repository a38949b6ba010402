"""A container started with the flags of .devcontainer/devcontainer.json: the engine works in it, limits too.

The image of its Dockerfile comes from the internet. In its place stands one whose /usr is this machine's,
with the checkout and the Python under test at their usual places.
"""

import io
import json
import re
import shlex
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Docker

MERGED = ("bin", "sbin", "lib", "lib64")
EMPTY = ("dev", "etc", "proc", "root", "run", "sys", "usr", "var/lib/minidock", "var/log")
CLI = "import sys; from minidock.cli.main import main; sys.exit(main())"
INSIDE = """
set -e
mkdir -p -m 1777 /tmp /var/tmp
cd {checkout}
sh .devcontainer/start.sh
minidock() {{ {python} -B -c {cli} "$@"; }}
minidock doctor
minidock run --rm -m 64m --pids-limit 30 hostbox sh -c '
    if [ -e /sys/fs/cgroup/memory.max ]; then cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
    else cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; fi'
minidock run --name kept hostbox sh -c 'echo written > /file'
minidock start kept
minidock diff kept
"""


@pytest.fixture(scope="module")
def configuration(checkout: Path) -> dict[str, Any]:
    """Return devcontainer.json, which is JSON with comments."""
    text = (checkout / ".devcontainer" / "devcontainer.json").read_text()
    return dict(json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)))


@pytest.fixture(scope="module")
def flags(configuration: dict[str, Any]) -> list[str]:
    """Return the options of `docker run` that a dev container tool makes of it."""
    found = [*configuration["runArgs"], *(["--privileged"] if configuration["privileged"] else [])]
    for mount in configuration["mounts"]:
        found += ["--mount", mount.replace("${devcontainerId}", "test")]
    return found


@pytest.fixture(scope="module")
def image(docker: Docker) -> Iterator[str]:
    """Yield the name of an image that holds nothing but places."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in EMPTY:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name in MERGED:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(entry)
    docker("import", "-", "devcontainer:test", stdin=buffer.getvalue())
    yield "devcontainer:test"
    docker("rmi", "-f", "devcontainer:test")


def places(checkout: Path) -> list[str]:
    """Return the bind mounts that bring programs, libraries, Python and the checkout in, read-only."""
    wanted = {"/usr", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", str(checkout), sys.prefix}
    wanted.add(sys.base_prefix)
    return [word for path in sorted(wanted) for word in ("-v", f"{path}:{path}:ro")]


@pytest.mark.timeout(120)
def test_the_engine_works_in_a_dev_container(
    docker: Docker, flags: list[str], image: str, checkout: Path
) -> None:
    assert {"--privileged", "--cgroupns=private"} <= set(flags)
    assert "target=/var/lib/minidock,type=volume" in " ".join(flags)
    script = INSIDE.format(checkout=checkout, python=sys.executable, cli=shlex.quote(CLI))
    words = ["run", "--rm", "--net", "none", *flags, *places(checkout), "-e", f"PYTHONPATH={checkout}"]
    answer = docker(*words, image, "sh", "-c", script, check=False)
    removed = docker("volume", "rm", "-f", "minidock-data-test", check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert removed.returncode == 0, removed.stderr
    lines = answer.stdout.splitlines()
    assert "minidock can run here." in lines
    assert lines[lines.index("minidock can run here.") + 1 :] == [str(64 << 20), "30", "kept", "A /file"]
    assert any(line.split()[1:2] == ["machine"] and "container" in line for line in lines)


def test_without_its_volume_the_doctor_names_the_remedy(
    docker: Docker, flags: list[str], image: str, checkout: Path
) -> None:
    without = [word for word in flags if word != "--mount" and not word.startswith("source=")]
    command = [sys.executable, "-B", "-c", CLI, "doctor"]
    words = ["run", "--rm", "--net", "none", *without, *places(checkout), "-e", f"PYTHONPATH={checkout}"]
    answer = docker(*words, image, *command, check=False)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "volume" in answer.stdout
