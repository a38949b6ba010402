"""The init layer: made whole, made again, and not shown as a change of the container."""

import os
from pathlib import Path

from minidock.engine import init_layer


def test_it_holds_real_directories_to_mount_on(tmp_path: Path) -> None:
    top = init_layer.ensure(str(tmp_path))
    for name in ("dev", "proc", "sys", "etc", "dev/pts", "dev/shm"):
        path = os.path.join(top, name)
        assert os.path.isdir(path)
        assert not os.path.islink(path)
        assert os.stat(path).st_mode & 0o777 == 0o755
    assert os.readlink(os.path.join(top, "etc/mtab")) == "/proc/mounts"


def test_making_it_again_changes_nothing_and_completes_a_half_made_one(tmp_path: Path) -> None:
    top = init_layer.ensure(str(tmp_path))
    os.unlink(os.path.join(top, "etc/hosts"))
    before = os.stat(os.path.join(top, ".dockerenv")).st_ino
    assert init_layer.ensure(str(tmp_path)) == top
    assert os.path.isfile(os.path.join(top, "etc/hosts"))
    assert os.stat(os.path.join(top, ".dockerenv")).st_ino == before


def test_it_is_made_right_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        top = init_layer.ensure(str(tmp_path))
    finally:
        os.umask(previous)
    assert os.stat(os.path.join(top, "etc/hosts")).st_mode & 0o777 == 0o755
    assert os.stat(top).st_mode & 0o777 == 0o755
