"""Who `-u` means, by files that a stranger wrote."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine import users
from minidock.errors import StartFailed

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# comment:x:5:5::/:
web:x:1000:1001:,,,:/srv/web:/bin/sh
broken
huge:x:99999999999:1::/:/bin/sh
negative:x:-1:1::/:/bin/sh
1234:x:77:77::/number:/bin/sh
"""
GROUP = """\
root:x:0:
adm:x:4:web,other
video:x:44:web
www:x:1001:
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    descriptor = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", users.Identity(0, 0, (0,), "/root")),
        ("root", users.Identity(0, 0, (0,), "/root")),
        ("web", users.Identity(1000, 1001, (1001, 4, 44), "/srv/web")),
        ("1000", users.Identity(1000, 1001, (1001, 4, 44), "/srv/web")),
        ("web:video", users.Identity(1000, 44, (44,), "/srv/web")),
        ("web:7", users.Identity(1000, 7, (7,), "/srv/web")),
        ("4711", users.Identity(4711, 0, (0,), "/")),
        ("4711:4712", users.Identity(4711, 4712, (4712,), "/")),
        (":44", users.Identity(0, 44, (44,), "/root")),
        ("2147483647", users.Identity(2147483647, 0, (0,), "/")),
    ],
)
def test_a_user_is_resolved_by_the_images_files(root: int, user: str, identity: users.Identity) -> None:
    assert users.resolve(root, user) == identity


def test_a_number_is_never_looked_up_as_a_name(root: int) -> None:
    assert users.resolve(root, "1234").uid == 1234


def test_added_groups_may_be_names_or_numbers(root: int) -> None:
    assert users.resolve(root, "web", ["video", "9", "adm"]).additional_gids == (1001, 4, 44, 9)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("huge", "unable to find user huge"),
        ("negative", "unable to find user negative"),
        ("-1", "unable to find user -1"),
        ("web:none", "unable to find group none: no matching entries in group file"),
        ("2147483648", "must be in range 0-2147483647"),
        ("0:99999999999999999999", "must be in range 0-2147483647"),
        ("\u0661", "unable to find user"),
    ],
)
def test_who_is_not_there_is_refused_in_dockers_words(root: int, user: str, message: str) -> None:
    with pytest.raises(StartFailed, match=message):
        users.resolve(root, user)


def test_an_image_without_the_files_knows_numbers_only(tree: Path, root: int) -> None:
    (tree / "etc/passwd").unlink()
    (tree / "etc/group").unlink()
    assert users.resolve(root, "") == users.Identity(0, 0, (0,), "/")
    assert users.resolve(root, "5:6").gid == 6
    with pytest.raises(StartFailed):
        users.resolve(root, "root")


def test_a_link_to_the_hosts_file_stays_inside(tree: Path, root: int) -> None:
    (tree / "etc/passwd").unlink()
    (tree / "etc/passwd").symlink_to("/etc/../../../../../../etc/host-passwd")
    (tree / "etc/host-passwd").write_text("inside:x:5:5::/:\n")
    assert users.resolve(root, "inside").uid == 5


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "huge"])
def test_what_is_not_a_small_regular_file_is_refused_at_once(tree: Path, root: int, kind: str) -> None:
    path = tree / "etc/passwd"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero: reading it never ends
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(users.MAXIMUM_FILE + 1)
    with pytest.raises(StartFailed, match="of the image"):
        users.resolve(root, "web")
