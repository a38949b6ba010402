"""The built-in image: from a static busybox, or from the host's own programs."""

import io
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.paths import Paths
from minidock.storage import hostbox
from minidock.storage.images import Image, ImageStore
from minidock.storage.load import import_root

STATIC = next((path for path in hostbox.BUSYBOX_PATHS if hostbox.is_static(path)), None)
needs_busybox = pytest.mark.skipif(STATIC is None, reason="this host has no static busybox")


def run_inside(store: ImageStore, image: Image, command: str) -> str:
    """Run a shell command with the image's tree as root directory."""
    root = store.layers.diff_directory(image.chain_ids[0])
    program = ["/bin/sh", "-c", command]
    answer = subprocess.run(
        ["chroot", root, *program], capture_output=True, text=True, check=True, env={"PATH": hostbox.PATH}
    )
    return answer.stdout


@needs_busybox
def test_the_image_runs_a_shell_with_its_applets(store: ImageStore) -> None:
    image = hostbox.ensure(store)
    assert image.references == ("hostbox:latest",)
    assert image.config.execution.cmd == ["sh"]
    assert (
        run_inside(store, image, "id -un; ls -d /tmp /etc/passwd; echo a,b | cut -d, -f2")
        == "root\n/etc/passwd\n/tmp\nb\n"
    )
    root = Path(store.layers.diff_directory(image.chain_ids[0]))
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "root").stat().st_mode) == 0o700
    assert os.readlink(root / "bin/ls") == "/bin/busybox"


@needs_busybox
def test_the_image_is_made_once_and_always_the_same(store: ImageStore, tmp_path: Path) -> None:
    image = hostbox.ensure(store)
    assert hostbox.ensure(store) == image
    other = ImageStore(Paths(str(tmp_path / "other"), str(tmp_path / "run")))
    assert hostbox.ensure(other).id == image.id
    assert [each.digest for each in other.manifests(image.id)] == [
        each.digest for each in store.manifests(image.id)
    ]


def test_without_a_busybox_the_hosts_own_programs_serve(store: ImageStore) -> None:
    image = hostbox.ensure(store, busybox=())
    assert run_inside(store, image, "echo hello | cat; ls -d /etc/passwd; true") == "hello\n/etc/passwd\n"


def test_a_static_program_has_no_interpreter(tmp_path: Path) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    assert not hostbox.is_static(shell)
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert not hostbox.is_static(str(tmp_path / "text"))
    assert not hostbox.is_static(str(tmp_path / "none"))


def test_a_name_taken_by_the_user_is_respected(
    store: ImageStore, tar: Callable[..., bytes], member: Callable[..., object]
) -> None:

    mine = import_root(store, io.BytesIO(tar([member("mine")])), "hostbox")
    assert hostbox.ensure(store) == mine
