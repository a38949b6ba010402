"""What a container has done to its files, as `diff`, `export`, `commit` and `cp` show it, and `cp` in all its
forms: minidock and dockerd after the same script.

Only what a tar says about files is compared, not how it is written: times that nobody set differ, dockerd
puts the file type into the mode (nobody reads it there), and a link counts as the file it leads to.
"""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.api.conftest import end_daemon, start_daemon

Answer = TypeVar("Answer")
BUSY = "/bin/busybox "
CHANGES = """
mkdir -p /a/b/c /w; echo 1 > /a/f1; echo 2 > /a/b/f2; ln /a/f1 /a/hard; ln -s f1 /a/sym
ln -s /nowhere /a/gone; mkfifo /a/fifo; mknod /a/null c 1 3; mknod /a/disk b 7 99; chmod 4755 /a/f1
chmod 1777 /a/b; chown 12:34 /a/b/f2; touch -d @1000000000 /a/b/f2; rm -rf /root; mkdir /root
echo n > /root/new; rm /bin/tail; mv /bin/head /bin/top
dd if=/dev/zero of=/a/sparse bs=1 count=1 seek=1000000; chmod 700 /tmp; ln -sf /bin/busybox /bin/echo
rm -r /w; echo v > /vol/v; echo t > /tmpfs/t; touch "/a/with blank" /a/ünï
touch "/a/..foo" /bin/busybox; echo e > /etc/added; mkdir /etc.d; rm -rf /etc.d; mkdir /a/.wh
rm /etc/passwd; mkdir /etc/passwd; echo x > /etc/passwd/x; mkdir -p /d/sub /e; echo 1 > /d/f
ln -s /d /ld; ln -s d/f /lf; ln -s /absent /dangling; ln -s ../../.. /d/up
"""
FILES = (
    "f /", "f /d", "f /d/", "f /d/new", "f /d/new/", "f /none/x", "f /lf", "f /ld", "f /ld/", "f /dangling",
    "f /d/up/g", "dir /", "dir /newdir", "dir /d", "dir/ /d2", "dir/. /d3", "dir/. /d", "dir /d/f", "dir /lf",
    "dir /ld", "dir /dangling", "lf /x1", "-L lf /x2", "ld /x3", "-L ld /x4", "ld/ /x5", "dangling /x6",
    "-a f /arch", "-a dir /archd", "f /vol/new", "dir /vol", "f /ro/x", "nothing /", "pipe /", "f rel",
    "f ../up", "- /d", "- /d/f", "- /none", "- /ld",
)  # fmt: skip
OUT = (
    "/d/f out/", "/d/f out/n", "/d/f none/n", "/d out/", "/d/sub out/dd", "/root/. out/dot", "/lf out/l1",
    "-L /lf out/l2", "/ld out/l3", "-L /lf out/l4", "/dangling out/l6", "-L /dangling out/l7", "/vol out/v",
    "/vol/v out/vf", "/none out", "/d f", "-a /root out/a", "/a out/all", "/a/sym -", "/a/. -", "/none -",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One engine and the directory in which its client works."""

    program: str
    host: str
    place: Path

    def run(self, *words: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CLI_HINTS": "false"}
        return subprocess.run(
            [self.program, *words],
            input=data,
            capture_output=True,
            check=False,
            cwd=self.place,
            env=environment,
            timeout=100,
        )

    def tar(self, *words: str) -> list[str]:
        """Run what prints a tar, and return its entries; of a failure its words."""
        answer = self.run(*words)
        return entries(answer.stdout) if answer.returncode == 0 else [self.words(answer.stderr)]

    def words(self, text: bytes) -> str:
        """Return what was said, without what cannot be the same."""
        said = text.decode(errors="replace").replace(str(self.place), "HERE")
        said = re.sub(r"(?m)^time=.*\n", "", said)  # the client's own complaint, if it was still sending
        said = re.sub(r"lstat \S+/merged", "", said)  # a path of the host, which ours does not tell
        return re.sub(r"(?<=from daemon: )[A-Z]", lambda match: match[0].lower(), said)


def entries(data: bytes) -> list[str]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for each in archive:
            device = (each.devmajor, each.devminor) if each.type in (tarfile.CHRTYPE, tarfile.BLKTYPE) else ""
            content = archive.extractfile(each).read() if each.isreg() else b""  # type: ignore[union-attr]
            mode = 0 if each.name.endswith(".wh..wh..opq") else each.mode & 0o7777
            set_time = each.mtime if each.name.endswith("/f2") else ""
            owner = (each.uid, each.gid)
            if each.name not in ("etc/hosts", "etc/resolv.conf", "etc/hostname"):
                line = (each.name, each.type, oct(mode), owner, each.linkname, device, set_time, len(content))
                found.append(f"{line} {content[:80]!r}")
    return sorted(found)


@pytest.fixture(scope="module")
def sides(
    docker_clients: list[str], dockerd: str, box: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Side, Side]]:
    """Yield dockerd and minidock, with the same image in both."""
    top = tmp_path_factory.mktemp("same-files")
    daemon = start_daemon(top / "minidock")
    hosts = {"theirs": dockerd, "ours": f"unix://{daemon.socket_path}"}
    made = []
    for name, host in hosts.items():
        (top / name / "dir" / "sub").mkdir(parents=True)
        (top / name / "out").mkdir()
        (top / name / "ro").mkdir()
        for path, content in {"f": "file", "dir/x": "x", "dir/sub/y": "y"}.items():
            (top / name / path).write_text(content)
        (top / name / "f").chmod(0o640)
        os.chown(top / name / "dir/x", 7, 8)
        os.link(top / name / "f", top / name / "dir/hard")
        os.mkfifo(top / name / "pipe")
        for link, target in {"lf": "f", "ld": "dir", "dangling": "absent"}.items():
            (top / name / link).symlink_to(target)
        made.append(Side(docker_clients[0], host, top / name))
        assert made[-1].run("import", "-", "same-files", data=box).returncode == 0
    yield made[0], made[1]
    for side in made:
        side.run("rm", "-fv", "scratch")
        side.run("rmi", "-f", "same-files", "same-commit")
    end_daemon(daemon)


def both(sides: tuple[Side, Side], ask: Callable[[Side], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, sides))


def start(side: Side, running: bool) -> None:
    side.run("rm", "-fv", "scratch")
    script = re.sub(r"(?m)(^|; )(?=[a-z])(?!echo)", rf"\1{BUSY}", CHANGES.strip())
    mounts = ["-v", "/vol", "-v", f"{side.place}/ro:/ro:ro", "--tmpfs", "/tmpfs"]
    last = "echo ready; exec busybox sleep 1000" if running else "echo ready"
    words = ["run", "-d", "--name", "scratch", "--net", "none", *mounts, "same-files", "sh", "-c"]
    answer = side.run(*words, f"{script}\n{last}")
    assert answer.returncode == 0, answer.stderr
    deadline = time.monotonic() + 60
    while side.run("logs", "scratch").stdout != b"ready\n":
        assert time.monotonic() < deadline, side.run("logs", "scratch")
        time.sleep(0.05)
    if not running:
        side.run("wait", "scratch")


def shown(side: Side) -> dict[str, Any]:
    """Return what the verbs say of the container's files."""
    side.run("rmi", "-f", "same-commit")
    side.run("commit", "-a", "me", "-m", "why", "-c", "ENV A=1", "scratch", "same-commit")
    config = json.loads(side.run("inspect", "same-commit").stdout)[0]
    with tarfile.open(fileobj=io.BytesIO(side.run("save", "same-commit").stdout)) as saved:
        document = json.load(saved.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        layer = saved.extractfile(document["Layers"][-1]).read()  # type: ignore[union-attr]
    return {
        "diff": sorted(side.run("diff", "scratch").stdout.decode().splitlines()),
        "export": side.tar("export", "scratch"),
        "commit": entries(layer),
        "about": [config[key] for key in ("Author", "Comment", "Size", "Architecture")],
        "config": {key: config["Config"][key] for key in ("Cmd", "Env", "Entrypoint", "WorkingDir", "User")},
        **{
            f"cp {path}": side.tar("cp", f"scratch:{path}", "-")
            for path in ("/a", "/root", "/vol", "/etc/passwd")
        },
    }


@pytest.mark.timeout(300)
@pytest.mark.oracle("dockerd", "docker")
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_the_changes_of_a_container_are_the_same(sides: tuple[Side, Side], running: bool) -> None:
    both(sides, lambda side: start(side, running))
    theirs, ours = both(sides, shown)
    assert {"A /a/disk", "D /bin/tail", "C /etc/passwd"} <= set(theirs["diff"])
    for verb, expected in theirs.items():
        assert ours[verb] == expected, verb


@pytest.mark.timeout(600)
@pytest.mark.oracle("dockerd", "docker")
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_cp_does_the_same(sides: tuple[Side, Side], running: bool) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in {"in": tarfile.DIRTYPE, "in/link": tarfile.SYMTYPE, "f": tarfile.REGTYPE}.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "f" if kind == tarfile.SYMTYPE else ""
            archive.addfile(entry)

    def copy(side: Side) -> list[object]:
        start(side, running)
        shutil.rmtree(side.place / "out")
        (side.place / "out").mkdir()
        told: list[object] = []
        for line in FILES:
            *flags, source, target = line.split()
            words = ["cp", *flags, source, f"scratch:{target}"]
            answer = side.run(*words, data=stream.getvalue() if source == "-" else b"")
            told.append((words, answer.returncode, side.words(answer.stderr)))
        for line in OUT:
            *flags, source, target = line.split()
            words = ["cp", *flags, f"scratch:{source}", target]
            answer = side.run(*words)
            made = entries(answer.stdout) if target == "-" and answer.returncode == 0 else ""
            told.append((words, answer.returncode, side.words(answer.stderr), made))
        told += side.tar("export", "scratch") + side.tar("cp", "scratch:/vol", "-")
        for path in sorted((side.place / "out").rglob("*")):
            status = path.lstat()
            link = os.readlink(path) if path.is_symlink() else ""
            told.append((str(path.relative_to(side.place)), oct(status.st_mode), status.st_uid, link))
        return told

    theirs, ours = both(sides, copy)
    assert ours == theirs
