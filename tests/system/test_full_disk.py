"""A disk that is full, or cannot be written: the error names the object, and nothing half-made stays."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Docker

# The engine under test gets a small disk of its own, in a mount namespace of its own, so that nothing
# outlives it.
SCRIPT = textwrap.dedent(
    """
    set -e
    mount --make-rprivate /
    mkdir -p {top}/data {top}/run
    mount -t tmpfs -o size=24m tmpfs {top}/data
    exec {python} -c 'import sys; from minidock.api.daemon import main; sys.exit(main(sys.argv[1:]))' \\
        -H unix://{top}/s --data-root {top}/data --exec-root {top}/run \\
        --cgroup-parent /minidock-test-disk-{pid}
    """
)


def big_tar(size: int) -> bytes:
    """Return a root with one file that does not compress and does not fit."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = size
        archive.addfile(entry, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a directory whose name leaves room for a socket's (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="minidock-disk-", dir="/var/tmp") as path:
        yield Path(path)


def test_an_image_that_does_not_fit_is_refused_and_leaves_nothing(docker: Docker, directory: Path) -> None:
    script = SCRIPT.format(top=directory, python=sys.executable, pid=os.getpid())
    engine = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stderr=subprocess.PIPE, text=True)
    try:
        assert engine.stderr is not None
        while "listens" not in (line := engine.stderr.readline()):
            assert line, f"the engine did not start (status {engine.wait()})"
        small = Docker(docker.program, f"unix://{directory}/s", "box")
        view = Path(f"/proc/{engine.pid}/root{directory}/data")
        before = sorted(str(path) for path in view.rglob("*"))
        refused = small("import", "-", "big:latest", stdin=big_tar(40_000_000), check=False)
        assert refused.returncode == 1
        assert "no space left on device" in refused.stderr.lower()
        assert small("images", "-q").stdout == ""
        assert sorted(str(path) for path in view.rglob("*")) == before
        small("import", "-", "box", stdin=big_tar(1_000_000))
        assert small("images", "-q").stdout != ""
    finally:
        engine.terminate()
        engine.wait(timeout=30)
