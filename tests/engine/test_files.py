"""cp, diff, export and commit of real containers, stopped and running, honest and hostile."""

import io
import os
import stat
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine import commit, diff, export, files, lifecycle
from minidock.engine.model import ContainerConfig
from minidock.errors import Forbidden, InvalidParameter, NotFound
from minidock.formats.image import ExecutionConfig
from tests.engine.conftest import Bench

SHELL = ("sh", "-c")
FOREVER = "while :; do sleep 100; done"
PATIENCE = 20.0


def tar(*members: tuple[str, bytes | None], **fields: object) -> io.BytesIO:
    """Return a tar of files, and of directories where the content is None."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size, entry.mode = len(content or b""), 0o755 if content is None else 0o644
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(content or b""))
    return io.BytesIO(sink.getvalue())


def read(bench: Bench, identifier: str, path: str) -> dict[str, bytes | None]:
    """Return the members of a path's tar: content of files, None for the rest."""
    with files.read(bench.engine, identifier, path) as (_, pieces):
        data = io.BytesIO(b"".join(pieces))
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=data) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            found[member.name] = content.read() if content else None
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=["stopped", "running"])
def container(bench: Bench, request: pytest.FixtureRequest) -> str:
    """Return a container with a volume, a read-only bind and some links, stopped or running."""
    script = (
        "mkdir -p /d/sub; echo one > /d/file; ln -s d /link; ln -s /d /abs; ln -s /nowhere /dangling;"
        f"ln -s /etc/passwd /d/out; echo v > /v/inside; touch /ready; test -n '$ONCE' || {FOREVER}"
    )
    binds = [f"vol{os.urandom(4).hex()}:/v", "/usr:/ro:ro"]
    if request.param == "stopped":
        identifier = bench.start(*SHELL, script.replace("$ONCE", "x"), binds=binds)
        bench.wait(identifier)
    else:
        identifier = bench.start(*SHELL, script.replace("$ONCE", ""), binds=binds)
        wait_until(lambda: any(change.path == "/ready" for change in diff.changes(bench.engine, identifier)))
    return identifier


def test_a_file_comes_out_and_goes_in(bench: Bench, container: str) -> None:
    assert read(bench, container, "/d/file") == {"file": b"one\n"}
    files.write(bench.engine, container, "/d", tar(("new", b"two"), uid=1000, mode=0o600))
    assert read(bench, container, "d/new") == {"new": b"two"}
    found = files.stat_path(bench.engine, container, "/d/new")
    assert (found.name, found.size, found.mode) == ("new", 3, 0o600)


def test_a_directory_is_called_as_it_was_asked_for(bench: Bench, container: str) -> None:
    assert set(read(bench, container, "/d")) == {"d", "d/file", "d/out", "d/sub"}
    assert set(read(bench, container, "/d/.")) == {".", "./file", "./out", "./sub"}
    assert set(read(bench, container, "/link")) == {"link"}
    assert set(read(bench, container, "/link/")) == {"link", "link/file", "link/out", "link/sub"}
    assert read(bench, container, "../../d/file") == {"file": b"one\n"}


def test_a_link_is_described_with_where_it_ends(bench: Bench, container: str) -> None:
    ends = {path: files.stat_path(bench.engine, container, path) for path in ("/link", "/abs", "/dangling")}
    assert {path: found.link_target for path, found in ends.items()} == {
        "/link": "/d", "/abs": "/d", "/dangling": "/nowhere",
    }  # fmt: skip
    assert all(found.mode & 1 << 27 for found in ends.values())


def test_volumes_are_part_of_it_and_read_only_ones_stay_so(bench: Bench, container: str) -> None:
    assert read(bench, container, "/v/inside") == {"inside": b"v\n"}
    files.write(bench.engine, container, "/v", tar(("more", b"m")))
    assert read(bench, container, "/v") == {"v": None, "v/inside": b"v\n", "v/more": b"m"}
    with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
        files.write(bench.engine, container, "/ro", tar(("f", b"")))
    assert not os.path.exists("/usr/f")


def test_a_volume_of_a_container_that_never_ran_can_be_written(bench: Bench) -> None:
    identifier = bench.create(*SHELL, "cat /new/place/f", volumes={"/new/place": {}})
    files.write(bench.engine, identifier, "/new/place", tar(("f", b"written before the start")))
    lifecycle.start(bench.engine, identifier)
    bench.wait(identifier)
    assert bench.output(identifier) == "written before the start"


def test_a_link_is_followed_to_write_and_ends_inside(bench: Bench, container: str) -> None:
    files.write(bench.engine, container, "/abs", tar(("via", b"x")))
    assert read(bench, container, "/d/via") == {"via": b"x"}
    files.write(bench.engine, container, "/", tar(("link/through", b"y"), ("etc/new-here", b"z")))
    assert read(bench, container, "/d/through") == {"through": b"y"}
    assert not os.path.exists("/etc/new-here")


def test_what_cannot_be_is_refused_in_dockers_words(bench: Bench, container: str) -> None:
    engine = bench.engine
    for path in ("/nope", "/dangling", "/sys/kernel"):
        with pytest.raises(NotFound, match=f"Could not find the file {path} in container {container}"):
            files.write(engine, container, path, tar(("f", b"")))
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        files.write(engine, container, "/d/file", tar(("f", b"")))
    with pytest.raises(InvalidParameter, match="path cannot be empty"):
        files.stat_path(engine, container, "")
    keep = files.Manners(keep_types=True)
    with pytest.raises(InvalidParameter, match='cannot overwrite directory "/d/sub" with non-directory "/d"'):
        files.write(engine, container, "/d", tar(("sub", b"")), keep)
    with pytest.raises(
        InvalidParameter, match='cannot overwrite non-directory "/d/file" with directory "/d"'
    ):
        files.write(engine, container, "/d", tar(("file", None)), keep)
    files.write(engine, container, "/d", tar(("sub", b"now a file")))
    assert read(bench, container, "/d/sub") == {"sub": b"now a file"}


@pytest.mark.parametrize("name", ["../../escaped", "a/../../escaped", "/../escaped"])
def test_a_tar_cannot_climb_out_of_its_directory(bench: Bench, container: str, name: str) -> None:
    with pytest.raises(InvalidParameter, match="outside of the archive's root"):
        files.write(bench.engine, container, "/d", tar((name, b"")))


def test_a_hard_link_and_a_symlink_in_a_tar_stay_inside(bench: Bench, container: str) -> None:
    data = tar(("s", b""), type=tarfile.SYMTYPE, linkname="/etc")
    files.write(bench.engine, container, "/d", data)
    files.write(bench.engine, container, "/d", tar(("s/minidock-escape", b"x")))
    assert not os.path.exists("/etc/minidock-escape")
    assert read(bench, container, "/etc/minidock-escape") == {"minidock-escape": b"x"}
    with pytest.raises(InvalidParameter):
        files.write(
            bench.engine, container, "/d", tar(("h", b""), type=tarfile.LNKTYPE, linkname="../etc/passwd")
        )


def test_everything_goes_to_the_containers_user_on_request(bench: Bench) -> None:
    identifier = bench.create("true", user="1234:55")
    files.write(bench.engine, identifier, "/", tar(("mine", b"")), files.Manners(give_to_user=True))
    with files.read(bench.engine, identifier, "/mine") as (_, pieces):
        data = io.BytesIO(b"".join(pieces))
    with tarfile.open(fileobj=data) as archive:
        (entry,) = archive
    assert (entry.uid, entry.gid) == (1234, 55)


def test_a_read_only_root_is_read_only_for_cp_too(bench: Bench) -> None:
    name = f"w{os.urandom(4).hex()}"
    identifier = bench.create("true", readonly_rootfs=True, binds=[f"{name}:/v"])
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        files.write(bench.engine, identifier, "/tmp", tar(("f", b"")))
    files.write(bench.engine, identifier, "/v", tar(("f", b"in")))
    assert Path(bench.engine.volumes.data(name), "f").read_bytes() == b"in"


def test_a_start_waits_for_whoever_reads_the_tree(bench: Bench) -> None:
    identifier = bench.create("true")
    started = threading.Event()

    def start() -> None:
        lifecycle.start(bench.engine, identifier)
        started.set()

    with files.read(bench.engine, identifier, "/etc"):
        thread = threading.Thread(target=start)
        thread.start()
        assert not started.wait(0.2)
    assert started.wait(PATIENCE)
    thread.join()


def test_a_tmpfs_of_a_running_container_is_seen_and_what_the_kernel_makes_up_is_not(bench: Bench) -> None:
    identifier = bench.start(*SHELL, f"echo t > /t/f; mkfifo /t/pipe; {FOREVER}", tmpfs={"/t": ""})
    wait_until(lambda: "t/pipe" in read(bench, identifier, "/t"))
    assert read(bench, identifier, "/t/f") == {"f": b"t\n"}
    whole = read(bench, identifier, "/")
    assert "/proc" in whole
    assert not any(name.startswith(("/proc/", "/sys/")) for name in whole)


def test_changes_are_what_the_program_changed(bench: Bench) -> None:
    script = (
        "echo a > /etc/added; echo b >> /etc/passwd; rm /etc/group; mkdir -p /new/deep; touch /new/deep/f;"
        "chmod 711 /root; cp -a /etc/passwd /etc/p; chmod 644 /bin/busybox; mv /etc/added /etc/moved"
    )
    identifier = bench.start(*SHELL, script)
    bench.wait(identifier)
    found = {(change.path, change.kind) for change in diff.changes(bench.engine, identifier)}
    assert {("/etc", 0), ("/etc/passwd", 0), ("/etc/group", 2), ("/etc/moved", 1), ("/new", 1)} <= found
    assert {("/new/deep", 1), ("/new/deep/f", 1)} <= found
    assert not {path for path, _ in found} & {"/etc/added", "/etc/hosts", "/dev", "/proc", "/.dockerenv"}


def test_a_container_that_did_nothing_changed_nothing(bench: Bench) -> None:
    assert list(diff.changes(bench.engine, bench.create("true"))) == []


def exported(bench: Bench, identifier: str) -> set[str]:
    with export.export(bench.engine, identifier) as pieces:
        data = io.BytesIO(b"".join(pieces))
    with tarfile.open(fileobj=data) as archive:
        return {member.name for member in archive}


def test_export_has_the_tree_without_volumes_and_what_is_mounted(bench: Bench, container: str) -> None:
    found = exported(bench, container)
    assert {"d/file", "link", "v", "etc/hosts", "proc", "etc/passwd"} <= found
    assert not any(name.startswith(("v/", "proc/", "sys/", "ro/")) for name in found)


def test_commit_makes_an_image_that_has_the_changes(bench: Bench, container: str) -> None:
    wanted = commit.Wanted(
        repository="committed", author="me", comment="why", changes=["ENV A=1", 'CMD ["cat", "/d/file"]']
    )
    before = bench.engine.containers[container].status
    with bench.engine.events.subscribe(filters={"event": ["tag", "commit"]}) as listener:
        image = bench.engine.images.resolve(commit.commit(bench.engine, container, wanted))
        told = [(event.type, event.action) for event in listener.take()]
    assert told == [("image", "tag"), ("container", "commit")]
    assert bench.engine.containers[container].status == before
    assert image.references == ("committed:latest",)
    assert image.parent == bench.engine.containers[container].record.image
    assert (image.config.author, (image.config.history or [])[-1].comment) == ("me", "why")
    assert bench.run(image=image.id) == (0, "one\n")
    assert "v/inside" not in exported(bench, bench.create("true", image=image.id))


def test_the_same_changes_are_the_same_layer(bench: Bench) -> None:
    identifier = bench.start(*SHELL, "echo x > /x; rm /etc/group; touch -d @1000 /x /etc /")
    bench.wait(identifier)
    one, other = (
        bench.engine.images.resolve(commit.commit(bench.engine, identifier, commit.Wanted(comment=word)))
        for word in ("one", "other")
    )
    assert one.id != other.id
    assert one.config.rootfs.diff_ids == other.config.rootfs.diff_ids


def test_an_image_of_no_change_has_no_layer_of_its_own(bench: Bench) -> None:
    identifier = bench.create("true")
    image = bench.engine.images.resolve(commit.commit(bench.engine, identifier, commit.Wanted()))
    assert list(image.chain_ids) == bench.engine.containers[identifier].record.layers
    assert (image.config.history or [])[-1].empty_layer


def test_tty_and_its_kin_are_never_inherited() -> None:
    config = ContainerConfig(tty=True, open_stdin=True, stdin_once=True, hostname="h", cmd=["a"], env=["A=1"])
    made = commit.execution(ExecutionConfig(env=["B=2"]), config)
    assert made == ExecutionConfig(cmd=["a"], env=["B=2", "A=1"])


@pytest.mark.soak(1000)
def test_a_racer_that_swaps_links_gets_at_its_own_files_only(
    bench: Bench, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """CVE-2018-15664: /w is a directory in one moment and a link to the host's path in the next."""
    soak = request.config.getoption("--soak")
    rounds = 1000 if soak else 4 * int(request.config.getoption("--rounds"))
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("of the host")
    script = (
        f"mkdir -p /w /tmp{canary}; echo own > /w/secret; ln -s {canary} /l;"
        "while :; do mv /w /x; mv /l /w; mv /w /l; mv /x /w; done"
    )
    identifier = bench.start(*SHELL, script)
    wait_until(lambda: any(change.path == "/l" for change in diff.changes(bench.engine, identifier)))
    got = 0
    for number in range(rounds):
        try:
            got += read(bench, identifier, "/w/secret") == {"secret": b"own\n"}
        except (NotFound, InvalidParameter):
            pass
        try:
            files.write(bench.engine, identifier, "/w", tar((f"in{number}", b"x"), ("secret", b"own\n")))
        except (NotFound, InvalidParameter):
            pass
    assert got
    exported(bench, identifier)
    commit.commit(bench.engine, identifier, commit.Wanted())
    lifecycle.remove(bench.engine, identifier, force=True)
    assert os.listdir(canary) == ["secret"]
    assert (canary / "secret").read_text() == "of the host"


def test_modes_are_told_in_gos_notation() -> None:
    assert files.go_mode(stat.S_IFDIR | 0o1777) == 1 << 31 | 1 << 20 | 0o777
    assert files.go_mode(stat.S_IFREG | 0o4755) == 1 << 23 | 0o755
    assert files.go_mode(stat.S_IFCHR | 0o600) == 1 << 26 | 1 << 21 | 0o600
