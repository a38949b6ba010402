"""Trees as tars: what is packed comes out the same, and nothing hostile in a tree is opened or followed."""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.storage import names as ordered
from minidock.storage.archive import extract
from minidock.storage.lowers import LowerLayers
from minidock.storage.overlay import Stack, mount_overlay
from minidock.storage.packing import ChunkReader, Manner, pack

EXACT = Manner(exact_times=True)
NAMES = st.sampled_from(["a", "b", "c", "ä", "d d"])
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["file", "directory", "link", "fifo", "device", "hard", "remove", "chmod", "xattr", "owner"]
        ),
        st.lists(NAMES, min_size=1, max_size=3),
        st.integers(0, 7),
    ),
    max_size=14,
)


def tar_of(path: Path, name: str = ".", renamed: str = "", manner: Manner = EXACT) -> bytes:
    directory = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return b"".join(pack(directory, name, renamed, manner))
    finally:
        os.close(directory)


def unpack(data: bytes, root: Path, lowers: list[Path] | None = None) -> None:
    opened = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (root, *(lowers or []))]
    try:
        extract(BytesIO(data), opened[0], None if lowers is None else LowerLayers(opened[1:]))
    finally:
        for descriptor in opened:
            os.close(descriptor)


def listing(root: Path, seconds: bool = False) -> dict[str, tuple[object, ...]]:
    """Return everything that can be seen of a tree; hard links by the names that share an inode."""
    found: dict[str, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], list[str]] = {}
    for parent, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay")
            }
            short = os.path.relpath(path, root)
            time = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns // (10**9 if seconds else 1)
            found[short] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_rdev,
                time,
                content,
                attributes,
            )
            if not stat.S_ISDIR(status.st_mode):
                groups.setdefault((status.st_dev, status.st_ino), []).append(short)
    for names in groups.values():
        for name in names:
            found[name] += (tuple(sorted(names)),)
    return found


def act(root: Path, actions: list[tuple[str, list[str], int]]) -> None:
    """Do what the actions say; one that is impossible is skipped."""
    for kind, parts, number in actions:
        path = root.joinpath(*parts)
        try:
            _act(kind, path, root, number)
        except OSError:
            continue


def _act(kind: str, path: Path, root: Path, number: int) -> None:
    if kind == "remove":
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    elif kind == "chmod":
        os.chmod(path, 0o4700 + number, follow_symlinks=True) if not path.is_symlink() else None
    elif kind == "xattr":
        os.setxattr(path, "user.n", b"%d" % number, follow_symlinks=False)
    elif kind == "owner":
        os.chown(path, number, number + 1, follow_symlinks=False)
    elif kind == "file":
        # A pipe would wait for a reader for ever, a device would be written to.
        if not path.is_symlink() and (path.is_file() or not path.exists()):
            path.write_bytes(b"x" * number * 100)
        os.utime(path, ns=(0, number * 10**9 + 5), follow_symlinks=False)
    elif kind == "directory":
        path.mkdir(parents=True)
    elif kind == "link":
        path.symlink_to(["/no/such", "./a", "nowhere", "b"][number % 4])  # never to a place of the host
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o644 | stat.S_IFCHR, os.makedev(1, 3 + number))
    elif kind == "hard":
        plain = [each for each in sorted(root.rglob("*")) if each.is_file() and not each.is_symlink()]
        if plain:
            os.link(plain[0], path, follow_symlinks=False)


@given(actions=ACTIONS)
def test_what_is_packed_comes_out_the_same(tmp_path: Path, actions: list[tuple[str, list[str], int]]) -> None:
    top = Path(os.path.join(tmp_path, os.urandom(6).hex()))
    old, new = top / "old", top / "new"
    old.mkdir(parents=True)
    new.mkdir()
    act(old, actions)
    data = tar_of(old)
    unpack(data, new)
    assert listing(new) == listing(old)
    assert tar_of(old) == data  # and the same tree is the same tar


@given(before=ACTIONS, after=ACTIONS)
def test_a_layer_of_the_changes_makes_the_new_tree_of_the_old(
    tmp_path: Path, before: list[tuple[str, list[str], int]], after: list[tuple[str, list[str], int]]
) -> None:
    """apply(diff(old, new), old) == new, where overlayfs itself records the difference."""
    top = Path(os.path.join(tmp_path, os.urandom(6).hex()))
    for name in ("lower", "upper", "work", "layer", "empty"):
        (top / name).mkdir(parents=True)
    act(top / "lower", before)
    tree = mount_overlay(Stack(str(top), ["lower"], str(top / "upper"), str(top / "work")))
    try:
        root = Path(f"/proc/self/fd/{tree}")
        act(root, after)
        wanted = listing(root, seconds=True)
    finally:
        os.close(tree)
    unpack(tar_of(top / "upper", manner=Manner(is_layer=True)), top / "layer", [top / "lower"])
    again = mount_overlay(Stack(str(top), ["layer", "lower"]))
    try:
        assert listing(Path(f"/proc/self/fd/{again}"), seconds=True) == wanted
    finally:
        os.close(again)


def test_names_begin_as_they_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").write_text("x")

    def names(name: str, renamed: str) -> list[str]:
        with tarfile.open(fileobj=BytesIO(tar_of(tmp_path / "d", name, renamed))) as archive:
            return [member.name for member in archive]

    assert names(".", "") == ["e", "f"]
    assert names(".", "other") == ["other", "other/e", "other/f"]
    assert names(".", ".") == [".", "./e", "./f"]
    assert names(".", "/") == ["", "/e", "/f"]
    assert names("f", "g") == ["g"]


def test_a_pipe_and_a_device_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would block until somebody writes
    os.mknod(tmp_path / "tape", 0o600 | stat.S_IFCHR, os.makedev(511, 77))  # opening it would be ENXIO
    with tarfile.open(fileobj=BytesIO(tar_of(tmp_path))) as archive:
        kinds = {member.name: member.type for member in archive}
    assert kinds == {"pipe": tarfile.FIFOTYPE, "tape": tarfile.CHRTYPE}


def test_a_tree_deeper_than_pythons_stack_and_our_descriptors_is_packed(tmp_path: Path) -> None:
    script = "import os,sys\nos.chdir(sys.argv[1])\nfor n in range(1900): os.mkdir('d'); os.chdir('d')\n"
    script += "open('f','w')"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    with tarfile.open(fileobj=BytesIO(tar_of(tmp_path))) as archive:
        deepest = [member.name for member in archive][-1]
    assert deepest == "d/" * 1900 + "f"
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_path_that_no_tar_can_hold_is_refused(tmp_path: Path) -> None:
    script = "import os,sys\nos.chdir(sys.argv[1])\nfor n in range(30): os.mkdir('d'*200); os.chdir('d'*200)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    with pytest.raises(InvalidParameter, match="a path of more than"):
        tar_of(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / ("d" * 200))], check=True)


def test_a_file_that_reads_as_a_whiteout_is_refused_in_a_layer_only(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").write_text("")
    with pytest.raises(InvalidParameter, match="cannot hide a file"):
        tar_of(tmp_path, manner=Manner(is_layer=True))
    assert tar_of(tmp_path)


def test_a_file_that_shrinks_keeps_what_its_header_promised(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (3 << 20))
    directory = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    pieces = pack(directory, ".", "", EXACT)
    data = next(pieces)
    os.truncate(tmp_path / "f", 10)
    data += b"".join(pieces)
    os.close(directory)
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        content = archive.extractfile("f")
        assert content is not None
        assert content.read() == b"x" * 10 + bytes((3 << 20) - 10)


def test_a_directory_swapped_for_a_link_shows_nothing_from_outside(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tree / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for one, other in (("d", "spare"), ("link", "d"), ("d", "link"), ("spare", "d")):
                os.rename(tree / one, tree / other)

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for _ in range(300):
            with tarfile.open(fileobj=BytesIO(tar_of(tree))) as archive:
                assert not any("secret" in member.name for member in archive)
    finally:
        over.set()
        racer.join()


def test_a_great_directory_is_read_some_names_at_a_time_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(23):
        (tmp_path / "d" / f"{number % 3}" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / f"{number % 3}" / f"f{number}").write_text(f"{number}")
    at_once = tar_of(tmp_path)
    for several in (1, 2, 7, 8):
        monkeypatch.setattr(ordered, "NAMES_AT_ONCE", several)
        monkeypatch.setattr(ordered, "KEPT_NAMES", max(1, several - 1))
        assert tar_of(tmp_path) == at_once


def test_pieces_read_like_a_file() -> None:
    reader = ChunkReader(iter([b"", b"abc", b"", b"defg"]))
    assert [reader.read(2), reader.read(9), reader.read(9), reader.read(1)] == [b"ab", b"c", b"defg", b""]
