"""Volumes and mounts of real containers: what they see, what stays and goes, what nobody escapes from."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidock.engine import inspection, lifecycle, volumes
from minidock.engine.model import DriverConfig, Mount, VolumeOptions
from minidock.errors import Conflict, InvalidParameter, MinidockError, NotFound, StartFailed
from tests.engine.conftest import Bench

SHELL = ("sh", "-c")


def names(bench: Bench) -> set[str]:
    return {volume.name for volume in bench.engine.volumes.volumes()}


@pytest.fixture
def token() -> str:
    return os.urandom(8).hex()


def test_what_one_container_writes_into_a_volume_another_reads(bench: Bench, token: str) -> None:
    assert bench.run(*SHELL, f"echo {token} > /v/f", binds=[f"n{token}:/v"])[0] == 0
    assert bench.run("cat", "/w/f", binds=[f"n{token}:/w:ro"]) == (0, token + "\n")
    code, output = bench.run(*SHELL, "echo x > /w/f", binds=[f"n{token}:/w:ro"])
    assert code != 0
    assert "Read-only file system" in output


def test_a_new_volume_begins_with_what_the_image_has_there(bench: Bench, token: str) -> None:
    assert bench.run("true", binds=[f"e{token}:/etc"])[0] == 0
    path = Path(bench.engine.volumes.data(f"e{token}"))
    assert set(os.listdir(path)) >= {"passwd"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    bench.run("true", binds=[f"f{token}:/etc:nocopy"])
    assert os.listdir(bench.engine.volumes.data(f"f{token}")) == []


def test_a_volume_that_is_not_empty_is_left_as_it_is(bench: Bench, token: str) -> None:
    bench.run(*SHELL, "echo mine > /v/own", binds=[f"k{token}:/v"])
    bench.run("true", binds=[f"k{token}:/etc"])
    assert os.listdir(bench.engine.volumes.data(f"k{token}")) == ["own"]


def test_rm_takes_anonymous_volumes_along_only_when_asked(bench: Bench, token: str) -> None:
    before = names(bench)
    first = bench.create("true", volumes={"/q": {}}, binds=[f"s{token}:/s"])
    second = bench.create("true", volumes={"/q": {}})
    assert len(names(bench) - before) == 3
    lifecycle.remove(bench.engine, second)
    assert len(names(bench) - before) == 3
    lifecycle.remove(bench.engine, first, volumes=True)
    assert f"s{token}" in names(bench)
    assert len(names(bench) - before) == 2


@pytest.mark.parametrize(
    ("path", "place"), [("/with:colon", "/with:colon"), ("x:/x", "/x:/x"), ("rel", "/rel")]
)
def test_a_declared_volume_is_a_place_and_nothing_else(bench: Bench, path: str, place: str) -> None:
    code, output = bench.run("stat", "-c", "%F", place, volumes={path: {}})
    assert (code, output) == (0, "directory\n")
    with pytest.raises(InvalidParameter, match="destination can't be '/'"):
        bench.create("true", volumes={"/../": {}})


def test_a_file_is_not_mounted_on_a_directory_nor_the_other_way(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for source, place in ((tmp_path, "/bin/sh"), (tmp_path / "file", "/tmp")):
        with pytest.raises(StartFailed, match=r"Are you trying to mount a directory onto a file"):
            bench.start("true", binds=[f"{source}:{place}"])


def test_with_rm_the_anonymous_volumes_go_at_the_end(bench: Bench) -> None:
    before = names(bench)
    identifier = bench.start("true", volumes={"/q": {}}, auto_remove=True)
    bench.wait(identifier, "removed")
    deadline = time.monotonic() + 10
    while names(bench) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert names(bench) == before


def test_volumes_from_borrows_and_read_only_is_sticky(bench: Bench, token: str) -> None:
    lender = bench.create("true", binds=[f"b{token}:/shared:ro", "/proc:/p"], volumes={"/q": {}})
    borrower = bench.create("true", volumes_from=[lender, f"{lender[:12]}:rw"], binds=["/sys:/p"])
    container = bench.engine.containers[borrower]
    points = {point.destination: point for point in container.record.mounts}
    assert set(points) == {"/shared", "/p", "/q"}
    assert (points["/shared"].rw, points["/q"].rw, points["/p"].source) == (False, True, "/sys")
    with pytest.raises(InvalidParameter, match=r"No such container: \[data\]"):
        bench.create("true", volumes_from=["[data]"])


def test_a_volume_in_use_stays_and_an_unknown_one_is_named(bench: Bench, token: str) -> None:
    identifier = bench.create("true", binds=[f"u{token}:/v"])
    with pytest.raises(Conflict) as raised:
        volumes.remove(bench.engine, f"u{token}")
    assert str(raised.value) == f"remove u{token}: volume is in use - [{identifier}]"
    lifecycle.remove(bench.engine, identifier)
    volumes.remove(bench.engine, f"u{token}")
    with pytest.raises(NotFound, match=f"get u{token}: no such volume"):
        volumes.remove(bench.engine, f"u{token}")
    volumes.remove(bench.engine, f"u{token}", force=True)


def test_a_create_that_fails_leaves_no_volume(bench: Bench, token: str) -> None:
    before = names(bench)
    with pytest.raises(MinidockError, match="cannot mount volume over existing file"):
        bench.create("true", binds=[f"x{token}:/etc/passwd"], volumes={"/q": {}})
    assert names(bench) == before


def test_prune_takes_anonymous_volumes_and_with_all_the_others(fresh_bench: Bench) -> None:
    engine = fresh_bench.engine
    named = volumes.create(engine, "named", labels={"keep": "yes"}).name
    other = volumes.create(engine, "other").name
    anonymous = volumes.create(engine).name
    (Path(engine.volumes.data(anonymous)) / "f").write_bytes(b"1234")
    used = fresh_bench.create("true", volumes={"/q": {}})
    pruned = volumes.prune(engine)
    assert (pruned.volumes_deleted, pruned.space_reclaimed) == ([anonymous], 4)
    assert volumes.prune(engine, {"label!": ["keep"]}, everything=True).volumes_deleted == [other]
    assert volumes.users(engine, engine.containers[used].record.mounts[0].name) == [used]
    assert named in names(fresh_bench)


def test_listing_filters_by_label_name_and_use(fresh_bench: Bench) -> None:
    engine = fresh_bench.engine
    volumes.create(engine, "alpha", labels={"a": "b"})
    fresh_bench.create("true", binds=["beta:/v"])

    def found(**filters: list[str]) -> list[str]:
        return [volume.name for volume in volumes.listed(engine, filters).volumes]

    assert found() == ["alpha", "beta"]
    assert found(dangling=["true"]) == ["alpha"]
    assert found(dangling=["0"]) == ["beta"]
    assert found(label=["a=b"]) == ["alpha"]
    assert found(label=["a=c"]) == []
    assert found(name=["et"]) == ["beta"]
    assert found(driver=["nfs"]) == []
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        found(colour=["red"])


def test_volumes_survive_a_restart_of_the_engine(fresh_bench: Bench) -> None:
    made = volumes.create(fresh_bench.engine, "kept", labels={"a": "b"})
    assert volumes.inspect(fresh_bench.reopen(), "kept") == made


def test_containers_share_one_tmpfs_volume_also_after_a_restart_of_the_engine(fresh_bench: Bench) -> None:
    volumes.create(
        fresh_bench.engine, "memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=711"}
    )
    first = fresh_bench.start(*SHELL, "echo shared > /m/f; sleep 100", binds=["memory:/m"])
    deadline = time.monotonic() + 10
    while fresh_bench.run("cat", "/x/f", binds=["memory:/x"])[1] != "shared\n":
        assert time.monotonic() < deadline
    assert os.listdir(fresh_bench.engine.volumes.data("memory")) == []  # nothing is mounted where others look
    fresh_bench.reopen()
    assert fresh_bench.run("cat", "/x/f", binds=["memory:/x:ro"]) == (0, "shared\n")
    assert fresh_bench.run(*SHELL, "stat -c %a /x; echo y > /x/g", binds=["memory:/x"]) == (0, "711\n")
    lifecycle.remove(fresh_bench.engine, first, force=True)
    assert fresh_bench.run(*SHELL, "ls /x", binds=["memory:/x"]) == (0, "")  # with its last user it is gone


def test_a_volume_of_a_file_system_that_is_not_there_fails_the_start(bench: Bench, token: str) -> None:
    volumes.create(
        bench.engine, f"nfs{token}", options={"type": "nofs", "device": ":/x", "o": "addr=127.0.0.1"}
    )
    with pytest.raises(StartFailed, match=r"failed to mount local volume: mount :/x:.*no such device"):
        bench.start("true", binds=[f"nfs{token}:/v"])


def test_a_volume_can_be_a_bind_of_its_own(bench: Bench, token: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(token)
    options = {"type": "none", "device": str(tmp_path), "o": "bind"}
    mount = Mount(type="volume", source=f"bind{token}", target="/v")
    mount.volume_options = VolumeOptions(driver_config=DriverConfig(name="local", options=options))
    assert bench.run("cat", "/v/f", mounts=[mount]) == (0, token)


def part(name: str, subpath: str, target: str = "/v") -> Mount:
    return Mount(type="volume", source=name, target=target, volume_options=VolumeOptions(subpath=subpath))


def test_a_part_of_a_volume_is_mounted_and_must_be_there(bench: Bench, token: str) -> None:
    bench.run(*SHELL, "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s a/b /v/inside", binds=[f"p{token}:/v"])
    assert bench.run("cat", "/v/f", mounts=[part(f"p{token}", "a/b")]) == (0, "deep\n")
    assert bench.run("cat", "/v/f", mounts=[part(f"p{token}", "inside")]) == (0, "deep\n")
    assert bench.run("cat", "/v", mounts=[part(f"p{token}", "a/b/f")]) == (0, "deep\n")
    with pytest.raises(StartFailed, match="cannot access path nope of volume"):
        bench.start("true", mounts=[part(f"p{token}", "nope")])


@pytest.mark.parametrize("target", ["/etc", "../../../../../../etc", "/proc/self/root"])
def test_a_link_in_a_volume_does_not_lead_a_part_of_it_out(bench: Bench, token: str, target: str) -> None:
    bench.run("ln", "-s", target, "/v/out", binds=[f"o{token}:/v"])
    with pytest.raises(StartFailed, match=r"it leads out of it|no such file|too many levels"):
        bench.start("true", mounts=[part(f"o{token}", "out")])
    with pytest.raises(StartFailed):
        bench.start("true", mounts=[part(f"o{token}", "out/passwd")])


@pytest.mark.soak(500)
def test_a_racer_cannot_move_a_part_of_a_volume_or_a_mount_target_out(
    fresh_bench: Bench, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Another container swaps a directory of the shared volume for a link to / while ours is mounted."""
    soak = request.config.getoption("--soak")
    rounds = 500 if soak else min(20, int(request.config.getoption("--rounds")) * 2)
    volumes.create(fresh_bench.engine, "race")
    swap = "cd /v; mkdir -p a; ln -s / b; while :; do mv a c; mv b a; mv a b; mv c a; done"
    fresh_bench.start(*SHELL, swap, binds=["race:/v"])
    secret = tmp_path / "secret"
    secret.mkdir()
    wins = 0
    for number in range(rounds):
        wanted = [part("race", "a", "/part")]
        identifier = fresh_bench.create(
            *SHELL, "test ! -e /part/etc/passwd", mounts=wanted, binds=["race:/v", f"{secret}:/v/a/m{number}"]
        )
        try:
            lifecycle.start(fresh_bench.engine, identifier)
        except StartFailed:
            continue
        wins += 1
        assert fresh_bench.wait(identifier).status_code == 0
        lifecycle.remove(fresh_bench.engine, identifier)
    assert wins or not soak
    assert not any(Path("/").glob("m[0-9]*"))


def test_a_bind_makes_its_source_and_a_described_one_refuses(bench: Bench, tmp_path: Path) -> None:
    wanted = tmp_path / "not" / "there"
    with pytest.raises(InvalidParameter, match="bind source path does not exist"):
        bench.create("true", mounts=[Mount(type="bind", source=str(wanted), target="/x")])
    assert not wanted.exists()
    assert bench.run("ls", "/x", binds=[f"{wanted}:/x"]) == (0, "")
    assert wanted.is_dir()


def test_a_bind_over_proc_is_refused_in_runcs_words(bench: Bench, tmp_path: Path) -> None:
    for place, words in (
        ("/proc", '"/proc" cannot be mounted because it is not of type proc'),
        ("/proc/sys", '"/proc/sys" cannot be mounted because it is inside /proc'),
    ):
        with pytest.raises(StartFailed, match=words):
            bench.start("true", binds=[f"{tmp_path}:{place}"])
    (tmp_path / "load").write_text("0.00 of ours\n")
    assert bench.run("cat", "/proc/loadavg", binds=[f"{tmp_path}/load:/proc/loadavg"]) == (
        0,
        "0.00 of ours\n",
    )


def test_inspect_shows_what_docker_shows(bench: Bench, token: str) -> None:
    identifier = bench.create("true", binds=[f"i{token}:/v", "/tmp:/t:ro"], tmpfs={"/hidden": ""})
    shown = inspection.mount_points(bench.engine.containers[identifier])
    volume, bind = shown
    assert (volume.type, volume.name, volume.driver, volume.mode) == ("volume", f"i{token}", "local", "z")
    assert volume.source == bench.engine.volumes.data(f"i{token}")
    assert (bind.type, bind.name, bind.driver, bind.mode, bind.rw) == ("bind", None, None, "ro", False)


def test_a_shared_bind_reaches_the_host_and_a_private_one_does_not(tmp_path: Path) -> None:
    """In a mount namespace of the test's own, where the source lies on a shared mount."""
    script = f"""
import os, sys
from contextlib import ExitStack
from types import SimpleNamespace
from minidock.engine.model import MountPoint
from minidock.engine import mounts_sources
from minidock.kernel import mounts, namespaces
namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
place = {str(tmp_path)!r}
mounts.mount("x", place, "tmpfs")
for kind, wanted in (("rshared", True), ("rslave", False), ("rprivate", False)):
    point = MountPoint(type="bind", source=place, destination="/x", propagation=kind)
    record = SimpleNamespace(mounts=[point])
    container = SimpleNamespace(id="x", record=record)
    with ExitStack() as undo:
        try:
            tree = mounts_sources.open_all(None, container, undo)["/x"]
        except Exception as error:
            assert kind != "rprivate" and "not a shared" in str(error), error
    mounts.mount(None, place, None, mounts.MS_SHARED)
    with ExitStack() as undo:
        tree = mounts_sources.open_all(None, container, undo)["/x"]
        os.makedirs(place + "/there", exist_ok=True)
        os.makedirs("/tmp/attached-" + str(os.getpid()), exist_ok=True)
        mounts.move_mount(tree, "/tmp/attached-" + str(os.getpid()))
        mounts.mount("y", "/tmp/attached-" + str(os.getpid()) + "/there", "tmpfs")
        seen = any(info.target == place + "/there" for info in mounts.mountinfo())
        assert seen == wanted, (kind, seen)
        mounts.umount("/tmp/attached-" + str(os.getpid()) + "/there")
        mounts.umount("/tmp/attached-" + str(os.getpid()), mounts.MNT_DETACH)
    mounts.mount(None, place, None, mounts.MS_PRIVATE)
os.rmdir("/tmp/attached-" + str(os.getpid()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
