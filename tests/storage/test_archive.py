"""Unpacking: everything that a tar can say arrives, and nothing outside the root is touched."""

import os
import stat
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.errors import InvalidParameter
from minidock.storage.archive import split_name

DIR, SYM, LNK, CHR, BLK, FIFO = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
Make = Callable[..., tuple[tarfile.TarInfo, bytes]]
Tar = Callable[..., bytes]
Unpack = Callable[..., object]


def test_files_keep_mode_owner_time_and_content(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    unpack(
        tar(
            [
                member("bin", kind=DIR, mode=0o2755, gid=7, mtime=1000.5),
                member("bin/su", b"program", mode=0o4755, uid=3, gid=4, mtime=1.25),
                member("empty"),
                member("big", b"x" * (3 << 20)),
                member("link", kind=SYM, link="bin/su", uid=9, mtime=77),
            ]
        )
    )
    status = os.lstat(root / "bin/su")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 3, 4)
    assert status.st_mtime_ns == 1_250_000_000
    assert (root / "bin/su").read_bytes() == b"program"
    assert (root / "big").stat().st_size == 3 << 20
    directory = os.lstat(root / "bin")
    assert (stat.S_IMODE(directory.st_mode), directory.st_gid, directory.st_mtime_ns) == (
        0o2755,
        7,
        1000_500_000_000,
    )
    link = os.lstat(root / "link")
    assert (os.readlink(root / "link"), link.st_uid, link.st_mtime) == ("bin/su", 9, 77)


def test_the_umask_has_no_say(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    before = os.umask(0o077)
    try:
        unpack(
            tar(
                [member("tmp", kind=DIR, mode=0o1777), member("tmp/f", mode=0o666), member("a/b", mode=0o644)]
            )
        )
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(os.lstat(root / name).st_mode) for name in ("tmp", "tmp/f", "a", "a/b")]
    assert modes == [0o1777, 0o666, 0o755, 0o644]


def test_devices_and_pipes_are_made(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    unpack(
        tar(
            [
                member("null", kind=CHR, devmajor=1, devminor=3, mode=0o666, uid=2),
                member("disk", kind=BLK, devmajor=259, devminor=70000, mode=0o660),
                member("pipe", kind=FIFO, mode=0o600, mtime=5),
            ]
        )
    )
    null, disk, pipe = (os.lstat(root / name) for name in ("null", "disk", "pipe"))
    assert (null.st_mode, null.st_rdev, null.st_uid) == (stat.S_IFCHR | 0o666, os.makedev(1, 3), 2)
    assert (disk.st_mode, disk.st_rdev) == (stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    assert (pipe.st_mode, pipe.st_mtime) == (stat.S_IFIFO | 0o600, 5)


def test_the_roots_own_entry_dresses_the_root(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    unpack(tar([member("./", kind=DIR, mode=0o751, uid=5, mtime=9), member("./a")]))
    status = root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o751, 5, 9)


def test_xattrs_are_kept_and_capabilities_survive_the_owner(
    root: Path, unpack: Unpack, tar: Tar, member: Make
) -> None:
    capability = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # v2, effective: CAP_NET_RAW
    raw = capability.decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.security.capability": raw, "SCHILY.xattr.user.note": "hi"}
    unpack(
        tar(
            [
                member("ping", b"x", uid=8, pax_headers=headers),
                member("d", kind=DIR, pax_headers={"SCHILY.xattr.user.d": "1"}),
            ]
        )
    )
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert os.getxattr(root / "ping", "user.note") == b"hi"
    assert os.getxattr(root / "d", "user.d") == b"1"


@pytest.mark.parametrize("key", ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.x"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, DIR, SYM, FIFO])
def test_trusted_xattrs_are_refused(unpack: Unpack, tar: Tar, member: Make, key: str, kind: bytes) -> None:
    with pytest.raises(InvalidParameter, match="extended attribute"):
        unpack(tar([member("a", kind=kind, link="x", pax_headers={f"SCHILY.xattr.{key}": "y"})]))


def test_hard_links_share_an_inode_whatever_their_form(
    root: Path, unpack: Unpack, tar: Tar, member: Make
) -> None:
    unpack(
        tar(
            [
                member("usr/bin/a", b"data"),
                member("usr/bin/b", kind=LNK, link="usr/bin/a"),
                member("usr/bin/c", kind=LNK, link="/usr/bin/a"),
                member("bin", kind=SYM, link="/usr/bin"),
                member("d", kind=LNK, link="bin/a"),
                member("s", kind=SYM, link="nowhere"),
                member("s2", kind=LNK, link="s"),
                member("d", kind=LNK, link="bin/a"),
                member("usr/bin/a", kind=LNK, link="usr/bin/a"),
            ]
        )
    )
    names = ("usr/bin/a", "usr/bin/b", "usr/bin/c", "d")
    assert len({os.lstat(root / name).st_ino for name in names}) == 1
    assert os.lstat(root / "d").st_nlink == 4
    assert os.readlink(root / "s2") == "nowhere"


def test_the_awkward_archives_of_real_images_work(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    unpack(
        tar(
            [
                member("run", kind=DIR),
                member("var/run", kind=SYM, link="/run"),
                member("var/run/pid", b"1"),  # through an absolute link that stays inside
                member("up", kind=SYM, link="../../../../run"),
                member("up/pid2", b"2"),
                member("deep/down/without/parents", b"3"),
                member("..foo", b"4"),
                member("a..b/..c", b"5"),
                member("./x/./y//z", b"6"),
                member("/absolute", b"7"),
                member("in/../out", b"8"),
                member("dangling", kind=SYM, link="/made/later"),
                member("dangling/f", b"9"),
            ],
            pax_headers={"comment": "git archive puts a commit here", "path": "everything-renamed"},
        )
    )
    read = {
        name: (root / name).read_bytes()
        for name in (
            "run/pid",
            "run/pid2",
            "deep/down/without/parents",
            "..foo",
            "a..b/..c",
            "x/y/z",
            "absolute",
            "out",
            "made/later/f",
        )
    }
    assert list(read.values()) == [b"%d" % number for number in range(1, 10)]
    assert os.readlink(root / "var/run") == "/run"


def test_a_later_entry_replaces_an_earlier_one(root: Path, unpack: Unpack, tar: Tar, member: Make) -> None:
    unpack(
        tar(
            [
                member("f", b"old"),
                member("f-link", kind=LNK, link="f"),
                member("f", b"new"),
                member("d/child/leaf", b"x"),
                member("d", b"now a file"),
                member("g", b"file"),
                member("g", kind=DIR),
                member("g/inside", b"y"),
                member("link", kind=SYM, link="g"),
                member("link", kind=DIR),
                member("link/own", b"z"),
                member("dir", kind=DIR, mode=0o700),
                member("dir/kept", b"k"),
                member("dir", kind=DIR, mode=0o755),
            ]
        )
    )
    assert (root / "f").read_bytes() == b"new"
    assert (root / "f-link").read_bytes() == b"old"
    assert (root / "d").read_bytes() == b"now a file"
    assert sorted(os.listdir(root / "g")) == ["inside"]
    assert not (root / "link").is_symlink()
    assert (root / "dir/kept").exists()
    assert stat.S_IMODE((root / "dir").stat().st_mode) == 0o755


def test_a_kept_directory_is_forgotten_when_its_path_changes(
    root: Path, unpack: Unpack, tar: Tar, member: Make
) -> None:
    """The trap of keeping descriptors: `a` becomes a link, and what follows must go where it now leads."""
    unpack(
        tar(
            [
                member("a", kind=DIR),
                member("a/one", b"1"),
                member("b", kind=DIR),
                member("a", kind=SYM, link="b"),
                member("a/two", b"2"),
            ]
        )
    )
    assert os.listdir(root / "b") == ["two"]


def test_two_thousand_directories_do_not_cost_two_thousand_descriptors(
    root: Path, unpack: Unpack, tar: Tar, member: Make
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    unpack(tar([member(f"d{number}/f", b"x") for number in range(2000)]))
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir(root)) == 2000


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links_arrive(root: Path, unpack: Unpack, tar: Tar, member: Make, form: int) -> None:
    long = "/".join(["d" * 60] * 5)
    unpack(tar([member(long, b"x"), member("l", kind=SYM, link=long), member("é\udcff", b"y")], format=form))
    assert (root / "l").read_bytes() == b"x"
    assert (root / "é\udcff").read_bytes() == b"y"


ESCAPES: list[list[tuple[str, dict[str, object]]]] = [
    [("../canary/new", {})],
    [("a/../../canary/new", {})],
    [("/../canary/new", {})],
    [("l", {"kind": SYM, "link": "../canary"}), ("l/victim", {"data": b"x"})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l/victim", {"data": b"x"})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l/new/deep", {"data": b"x"})],
    [("l", {"kind": SYM, "link": "CANARY/victim"}), ("l", {"data": b"x"})],
    [("h", {"kind": LNK, "link": "CANARY/victim"})],
    [("h", {"kind": LNK, "link": "../canary/victim"}), ("h", {"data": b"x"})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("h", {"kind": LNK, "link": "l/victim"}), ("h", {"data": b"x"})],
    [
        ("l", {"kind": SYM, "link": "CANARY/victim"}),
        ("h", {"kind": LNK, "link": "l"}),
        ("h", {"mode": 0o777}),
    ],
    [("p", {"kind": SYM, "link": "/proc/self/root"}), ("p/CANARY/victim", {"data": b"x"})],
    [("a", {"kind": SYM, "link": "b"}), ("b", {"kind": SYM, "link": "a"}), ("a/f", {"data": b"x"})],
    [("d", {"kind": DIR}), ("d", {"kind": SYM, "link": "CANARY"}), ("d/victim", {"data": b"x"})],
    [("d/x", {}), ("d", {"kind": SYM, "link": "CANARY"}), ("d", {"kind": DIR, "mode": 0o777, "mtime": 1})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l", {"kind": DIR, "mode": 0o777})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l/.", {"kind": DIR, "mode": 0o777})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l/.wh.victim", {})],
    [("l", {"kind": SYM, "link": "CANARY"}), ("l/.wh..wh..opq", {})],
    [("l", {"kind": SYM, "link": ".."}), ("l/l/canary/victim", {"data": b"x"})],
]


@pytest.mark.parametrize("is_layer", [False, True])
@pytest.mark.parametrize("entries", ESCAPES)
def test_no_archive_leaves_its_root(
    root: Path,
    unpack: Unpack,
    tar: Tar,
    member: Make,
    entries: list[tuple[str, dict[str, object]]],
    is_layer: bool,
) -> None:
    """The canary beside the root (fixture `root`) is compared afterwards; refused is as good as contained."""
    canary = str(root.parent / "canary")
    members = [
        member(
            name.replace("CANARY", canary.lstrip("/")),
            **{
                key: value.replace("CANARY", canary) if isinstance(value, str) else value
                for key, value in fields.items()
            },
        )
        for name, fields in entries
    ]
    try:
        unpack(tar(members), [] if is_layer else None)
    except InvalidParameter:
        pass


@pytest.mark.parametrize(
    "entries",
    [
        [("..", {"kind": DIR})],
        [("a/../../b", {})],
        [(".", {"kind": SYM, "link": "/etc"})],
        [("/", {})],
        [("h", {"kind": LNK, "link": "missing"})],
        [("h", {"kind": LNK, "link": "."})],
        [("h", {"kind": LNK, "link": "../../etc/passwd"})],
        [("d", {"kind": DIR}), ("h", {"kind": LNK, "link": "d"})],
        [("f", {"data": b"x"}), ("f/g", {"data": b"y"})],
        [("n" * 300, {})],
        [("wh", {"kind": CHR, "devmajor": 0, "devminor": 0})],
        [("s", {"kind": SYM, "link": ""})],
    ],
)
def test_what_cannot_be_meant_is_refused(
    unpack: Unpack, tar: Tar, member: Make, entries: list[tuple[str, dict[str, object]]]
) -> None:
    with pytest.raises(InvalidParameter):
        unpack(tar([member(name, **fields) for name, fields in entries]))


def test_names_are_resolved_by_their_text() -> None:
    assert split_name("./a//b/./c/") == ["a", "b", "c"]
    assert split_name("a/../b/..c") == ["b", "..c"]
    assert split_name("/") == split_name("") == split_name("a/..") == []
    with pytest.raises(InvalidParameter, match="outside"):
        split_name("a/../..")


def test_whiteouts_are_ordinary_names_outside_of_layers(
    root: Path, unpack: Unpack, tar: Tar, member: Make
) -> None:
    unpack(tar([member(".wh.x", b"1"), member(".wh..wh..opq", b"2"), member("d/.wh.", b"3")]))
    assert sorted(os.listdir(root)) == [".wh..wh..opq", ".wh.x", "d"]


@pytest.mark.parametrize(
    "name", [".wh.", ".wh..", ".wh...", "a/.wh..", ".wh.x/y", "a/.wh.b/c", "a/.wh..wh.plnk"]
)
def test_malformed_whiteouts_are_refused_in_layers(unpack: Unpack, tar: Tar, member: Make, name: str) -> None:
    with pytest.raises(InvalidParameter, match="whiteout"):
        unpack(tar([member(name)]), [])
    with pytest.raises(InvalidParameter, match="whiteout"):
        unpack(tar([member(".wh.d", kind=DIR)]), [])


def test_whiteouts_become_overlays_own(
    root: Path, unpack: Unpack, tar: Tar, member: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lower = tmp_path_factory.mktemp("lower")
    for name in ("gone", "replaced", "kept"):
        (lower / name).mkdir()
        (lower / name / "old").touch()
    (lower / "file").touch()
    unpack(
        tar(
            [
                member(".wh.gone"),
                member(".wh.file"),
                member(".wh.never-was"),
                member(".wh.replaced"),
                member("replaced/new", b"x"),
                member("kept/new", b"y"),
                member(".wh.kept"),  # after its directory: hides the lower one only
                member("opaque/.wh..wh..opq"),
                member("opaque/f"),
            ]
        ),
        [lower],
    )
    for name in ("gone", "file"):
        status = os.lstat(root / name)
        assert stat.S_ISCHR(status.st_mode)
        assert status.st_rdev == 0
    assert not os.path.lexists(root / "never-was")
    for name in ("replaced", "kept", "opaque"):
        assert os.getxattr(root / name, "trusted.overlay.opaque") == b"y"
    assert os.listdir(root / "kept") == ["new"]


def test_a_whiteout_cannot_be_the_target_of_a_hard_link(
    unpack: Unpack, tar: Tar, member: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lower = tmp_path_factory.mktemp("lower")
    (lower / "a").touch()
    with pytest.raises(InvalidParameter, match="hard link"):
        unpack(tar([member(".wh.a"), member("b", kind=LNK, link="a")]), [lower])


def test_implied_directories_take_over_what_the_layers_below_say(
    root: Path, unpack: Unpack, tar: Tar, member: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lower = tmp_path_factory.mktemp("lower")
    (lower / "tmp" / "sub").mkdir(parents=True)
    os.chown(lower / "tmp", 5, 6)
    os.chmod(lower / "tmp", 0o1777)
    os.setxattr(lower / "tmp", "user.note", b"n")
    unpack(tar([member("tmp/sub/f"), member("else/f")]), [lower])
    status = (root / "tmp").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1777, 5, 6)
    assert os.getxattr(root / "tmp", "user.note") == b"n"
    assert stat.S_IMODE((root / "else").stat().st_mode) == 0o755


def test_what_aufs_kept_for_itself_serves_hard_links_and_goes(
    root: Path, unpack: Callable[..., object], tar: Callable[..., bytes], member: Callable[..., object]
) -> None:
    data = tar(
        [
            member(".wh..wh.aufs"),
            member(".wh..wh.orph/", kind=tarfile.DIRTYPE),
            member(".wh..wh.plnk/", kind=tarfile.DIRTYPE, mode=0o700),
            member(".wh..wh.plnk/77.9", b"linked"),
            member("one", kind=tarfile.LNKTYPE, link=".wh..wh.plnk/77.9"),
            member("two", kind=tarfile.LNKTYPE, link=".wh..wh.plnk/77.9"),
        ]
    )
    unpack(data, [])
    assert sorted(os.listdir(root)) == ["one", "two"]
    assert (root / "one").read_bytes() == b"linked"
    assert os.path.samefile(root / "one", root / "two")
    unpack(tar([member(".wh..wh.aufs")]))  # no layer: then the name means nothing
    assert (root / ".wh..wh.aufs").exists()
