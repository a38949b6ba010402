"""cp, diff, commit, export and volume: ours do what docker's do, and a hostile archive reaches nothing."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from minidock.cli import cp
from minidock.cli.cp import End
from minidock.cli.cp_archive import Blocks, unpack
from minidock.cli.failure import Failure
from tests.cli.conftest import Run


@pytest.fixture
def box(minidock: Run, image: str, name: str) -> str:
    """Return the name of a container that has ended and left some files."""
    script = (
        "echo one > /tmp/f; >/tmp/g; echo x > /etc/conf; busybox mkdir -p /tmp/d/e /far;"
        "busybox ln -s ../../f /tmp/d/e/up; busybox ln -s ../../.. /far/away"
    )
    assert minidock("run", "--name", name, "--network", "none", image, "sh", "-c", script).returncode == 0
    return name


def tree(path: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for each in sorted(path.rglob("*")):
        name = str(each.relative_to(path))
        if each.is_symlink():
            found[name] = os.readlink(each)
        else:
            found[name] = each.read_bytes() if each.is_file() else "/"
    return found


OUT = ["/tmp", "/tmp/.", "/tmp/f", "/bin/sh", "/nope", "/tmp/f/", "/far", ""]
TARGETS = ["new", "new/", "there", "there/", "file", "no/dir", "link", ""]


@pytest.mark.parametrize("source", OUT)
def test_both_copy_out_the_same(box: str, minidock: Run, docker: Run, tmp_path: Path, source: str) -> None:
    results = []
    for number, run in enumerate((minidock, docker)):
        for target in TARGETS:
            place = tmp_path / f"{number}" / (target.replace("/", "_") or "nothing")
            (place / "there").mkdir(parents=True)
            (place / "file").write_text("old")
            (place / "link").symlink_to("there")
            for flags in ([], ["-L"]) if source == "/bin/sh" else ([],):
                done = run("cp", *flags, f"{box}:{source}", target, cwd=place)
                error = done.stderr.replace(str(place).encode(), b"HERE")
                results.append((done.returncode, error, tree(place)))
    half = len(results) // 2
    assert results[:half] == results[half:]


def test_both_copy_in_the_same(image: str, minidock: Run, docker: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "e").write_text("e")
    (tmp_path / "f").write_text("f")
    (tmp_path / "l").symlink_to("f")
    (tmp_path / "ld").symlink_to("d")
    (tmp_path / "nowhere").symlink_to("absent")
    changes = []
    for run in (minidock, docker):
        name = f"cli-{os.urandom(6).hex()}"
        run("create", "--name", name, "--network", "none", image, "true")
        for words in (
            ["f", "/"], ["f", "/tmp/g"], ["f", "/tmp/none/"], ["d", "/etc"], ["d", "/new"], ["d/.", "/other"],
            ["d", "/bin/busybox"], ["l", "/tmp"], ["-L", "l", "/tmp/m"], ["nothing", "/"],
            ["d", "/no/such/place"], ["ld", "/link"], ["ld/", "/tmp/new"], ["ld/", "/root"],
            ["-L", "ld", "/tmp/n"], ["-L", "nowhere", "/tmp"], ["nowhere", "/tmp"], ["f/", "/"],
            ["f", ""], ["f", "."], ["", "/"],
        ):  # fmt: skip
            *flags, source, target = words
            done = run("cp", *flags, source, f"{name}:{target}", cwd=tmp_path)
            lines = [line for line in done.stderr.splitlines() if not line.startswith(b"time=")]
            changes.append((words, done.returncode, [line.replace(name.encode(), b"NAME") for line in lines]))
        changes.append(([], 0, sorted(run("diff", name).stdout.splitlines())))
        minidock("rm", name)
    half = len(changes) // 2
    assert changes[:half] == changes[half:]


def test_a_stream_goes_in_and_comes_out(box: str, minidock: Run) -> None:
    stream = minidock("cp", f"{box}:/tmp/f", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        assert archive.getnames() == ["f"]
    assert minidock("cp", "-", f"{box}:/etc", input=stream).returncode == 0
    assert b"A /etc/f" in minidock("diff", box).stdout.splitlines()
    refused = minidock("cp", "-", f"{box}:/tmp/f", input=stream)
    assert (refused.returncode, refused.stderr) == (
        1,
        f'destination "{box}:/tmp/f" must be a directory\n'.encode(),
    )


def test_diff_export_and_commit_say_what_docker_says(box: str, minidock: Run, docker: Run) -> None:
    for words in (
        ["diff", box],
        ["diff", "no-such"],
        ["export", box],
        ["export", "no-such"],
        ["commit", "no-such"],
    ):
        ours, theirs = minidock(*words), docker(*words)
        assert (ours.returncode, ours.stdout, ours.stderr) == (
            theirs.returncode,
            theirs.stdout,
            theirs.stderr,
        )
    made = minidock("commit", "-m", "why", "-c", "CMD cat /tmp/f", box, f"{box}:made")
    assert made.stdout.startswith(b"sha256:")
    assert minidock("run", "--rm", "--network", "none", f"{box}:made").stdout == b"one\n"
    assert minidock("rmi", f"{box}:made").returncode == 0


def test_volume_prints_what_docker_prints(minidock: Run, docker: Run) -> None:
    name = f"cli-{os.urandom(6).hex()}"
    assert minidock("volume", "create", "--label", "a=b", name).stdout == f"{name}\n".encode()
    for words in (
        ["ls", "--filter", f"name={name}"],
        ["ls", "-q", "--filter", "label=a=b"],
        ["ls", "--filter", f"name={name}", "--format", "json"],
        ["ls", "--format", "{{.Name}} {{.Labels}}", "--filter", f"name={name}"],
        ["inspect", name],
        ["inspect", "-f", "{{.Driver}} {{.Labels}}", name],
        ["inspect", "no-such"],
        ["rm", "no-such"],
        ["create", "a/b"],
        ["create", "-o", "foo=bar", "x-y"],
        ["rm"],
        ["prune", "-f", "--filter", "label=nothing"],
    ):
        ours, theirs = minidock("volume", *words), docker("volume", *words)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), words
        assert ours.stderr.replace(b"minidock", b"docker") == theirs.stderr
    assert minidock("volume", "rm", name).stdout == f"{name}\n".encode()


def packed(*members: tuple[str, str, str]) -> Blocks:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}.get(kind, tarfile.REGTYPE)
            if kind == "file":
                entry.size = len(content)
            else:
                entry.linkname = content
            archive.addfile(entry, io.BytesIO(content.encode()))
    return Blocks(iter([sink.getvalue()]))


@pytest.mark.parametrize(
    "members",
    [
        [("../out", "file", "x")],
        [("a/../../out", "file", "x")],
        [("l", "link", ".."), ("l/out", "file", "x")],
        [("l", "link", "/"), ("l/tmp/out", "file", "x")],
        [("h", "hard", "../victim")],
    ],
)
def test_a_hostile_archive_writes_nothing_outside(
    tmp_path: Path, members: list[tuple[str, str, str]]
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "victim").write_text("untouched")
    with pytest.raises((Failure, OSError)):
        unpack(packed(*members), str(inside), "", "")
    assert sorted(os.listdir(tmp_path)) == ["inside", "victim"]
    assert os.stat(tmp_path / "victim").st_nlink == 1


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (End("/s/f"), End("/t", True, True), ("/t", "")),
        (End("/s/f"), End("/t/g", True, False), ("/t", "g")),
        (End("/s/f"), End("/t/g", False), ("/t", "g")),
        (End("/s/d", True, True), End("/t/new/", False), ("/t", "new")),
    ],
)
def test_where_it_goes_depends_on_both_sides(source: End, target: End, expected: tuple[str, str]) -> None:
    assert cp.destination(source, target) == expected


def test_arguments_are_split_as_docker_splits_them() -> None:
    assert cp.split_argument("c:/x:y") == ("c", "/x:y")
    assert cp.split_argument("./c:x") == ("", "./c:x")
    assert cp.split_argument("/c:x") == ("", "/c:x")
    assert cp.split_argument("plain") == ("", "plain")
