"""minidock.runtime.filesystems and dev: what is mounted where, with hostile images and racing volumes."""

import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import StartFailed
from minidock.kernel import mounts
from minidock.kernel.libc import syscall
from minidock.kernel.mounts import AT_FDCWD
from minidock.runtime.bundle import Mount
from minidock.runtime.filesystems import Options

RENAME_EXCHANGE = 2


def found(running, target: str) -> mounts.MountInfo:
    """Return the topmost mount at `target` in the container."""
    return [mount for mount in mounts.mountinfo(running.pid) if mount.target == target][-1]


def with_mounts(bench, *extra: dict[str, Any], script: str = "exec sleep 1000") -> dict[str, Any]:
    spec = bench.shell(script)
    spec["mounts"] = [*spec["mounts"], *extra]
    return spec


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
    }


def test_the_usual_mounts_have_the_usual_options(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    assert {"nosuid", "nodev", "noexec"} <= set(found(running, "/proc").options)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(found(running, "/sys").options)
    dev = found(running, "/dev")
    assert {"nosuid"} <= set(dev.options)
    assert not {"relatime", "noatime", "nodev"} & set(dev.options)
    assert {"size=65536k", "mode=755"} <= set(dev.super_options)
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(found(running, "/dev/pts").super_options)


def test_dev_has_dockers_nodes_and_links_and_nothing_else(bench) -> None:
    output = bench.output("cd /dev; for n in *; do stat -c '%n %F %t:%T %a' $n; done")
    lines = dict(line.split(" ", 1) for line in output.splitlines())
    character = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    for name, number in character.items():
        assert lines.pop(name) == f"character special file {number} 666"
    core = ["core"] if os.path.exists("/proc/kcore") else []  # as with runc
    for name in ("fd", "stdin", "stdout", "stderr", "ptmx", *core):
        assert lines.pop(name).startswith("symbolic link")
    assert sorted(lines) == ["pts", "shm"]
    assert bench.output("readlink /dev/fd; readlink /dev/ptmx") == "/proc/self/fd\npts/ptmx\n"


def test_devices_of_the_spec_are_made_with_mode_and_owner(bench) -> None:
    device = {
        "path": "/dev/sub/mine",
        "type": "c",
        "major": 1,
        "minor": 3,
        "fileMode": 0o640,
        "uid": 5,
        "gid": 6,
    }
    spec = bench.shell("stat -c '%t:%T %a %u %g' /dev/sub/mine", linux={"devices": [device]})
    spec["linux"]["namespaces"] = bench.spec()["linux"]["namespaces"]
    assert bench.run(spec).out == "1:3 640 5 6\n"


def test_only_the_allowed_devices_can_be_opened(bench, tmp_path: Path) -> None:
    """mknod is allowed and harmless: opening is what the devices cgroup refuses."""
    script = "cd /dev; mknod disk b 7 0; head -c 1 disk; mknod mem2 c 1 1; head -c 1 mem2; head -c 1 zero"
    spec = bench.shell(script)
    ended = bench.run(spec)
    assert ended.err.count("Operation not permitted") == 2
    assert ended.out == "\0"


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "file"])
def test_a_link_in_the_place_of_a_kernel_file_system_is_never_followed(
    bench, own_root: Path, tmp_path: Path, name: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = own_root / "elsewhere"
    inside.mkdir()
    place = own_root / name
    shutil.rmtree(place)
    if kind == "file":
        place.write_text("x")
    else:
        place.symlink_to(outside if kind == "absolute" else "elsewhere")
    with pytest.raises(StartFailed, match=f"/{name}"):
        bench.run(bench.shell("true"))
    assert list(outside.iterdir()) == []
    assert list(inside.iterdir()) == []


def test_a_link_below_dev_is_no_way_out_either(bench, own_root: Path, tmp_path: Path) -> None:
    """Our tmpfs covers what the image has in /dev; without it, the link stays inside the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (own_root / "dev/pts").symlink_to(outside)
    (own_root / "dev/shm").symlink_to("/../../../../../../" + str(outside))
    assert bench.run(bench.shell("ls /dev/pts")).out == "ptmx\n"
    spec = bench.shell("cat /proc/self/mountinfo")
    spec["mounts"] = [entry for entry in spec["mounts"] if entry["destination"] != "/dev"]
    with pytest.raises(StartFailed):
        bench.run(spec)
    assert list(outside.iterdir()) == []


def test_targets_are_made_inside_the_root_even_through_links(bench, own_root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "token").write_text("here")
    (own_root / "link").symlink_to(outside)
    (own_root / "up").symlink_to("../../../../../..")
    spec = with_mounts(
        bench,
        bind(data, "/link/a"),
        bind(data, f"/up/{outside}/b"),
        bind(data / "token", "/file/in/new/place"),
        script=f"cat /link/a/token {outside}/b/token /file/in/new/place",
    )
    assert bench.run(spec).out == "here" * 3
    assert list(outside.iterdir()) == []


@pytest.mark.soak(300)
def test_a_racing_link_in_a_volume_never_leads_a_mount_out(bench, tmp_path: Path, rounds: int) -> None:
    """A peer flips a directory of a shared volume to a link to the host, while mounts go below it."""
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub/victim").write_text("victim")
    (volume / "flip/sub").mkdir(parents=True)
    os.symlink(outside, volume / "link")
    racer = os.fork()
    if racer == 0:
        try:
            while True:  # both names always exist; which of them is the link changes at full speed
                names = [os.fsencode(volume / name) for name in ("flip", "link")]
                syscall("renameat2", AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
        finally:
            os._exit(1)
    try:
        before = Path("/proc/self/mountinfo").read_text()
        tmpfs = {"destination": "/v/flip/sub", "type": "tmpfs", "source": "tmpfs", "options": []}
        for _ in range(rounds):
            spec = with_mounts(bench, bind(volume, "/v"), tmpfs, script=f"ls {outside}/sub; echo ok")
            try:
                ended = bench.run(spec)
            except StartFailed:
                continue  # refused is as good as contained
            assert "victim" not in ended.out
        assert Path("/proc/self/mountinfo").read_text() == before
        assert [path.name for path in (outside / "sub").iterdir()] == ["victim"]
    finally:
        os.kill(racer, signal.SIGKILL)
        os.waitpid(racer, 0)


@pytest.mark.parametrize(
    ("options", "expected", "absent"),
    [
        ((), (), ("ro",)),
        (("ro",), ("ro",), ()),
        (("ro", "rw"), (), ("ro",)),
        (("nosuid", "nodev", "noexec"), ("nosuid", "nodev", "noexec"), ()),
        (("noexec", "exec"), (), ("noexec",)),
        (("noatime",), ("noatime",), ("relatime",)),
        (("noatime", "relatime"), ("relatime",), ("noatime",)),
        (("strictatime",), (), ("relatime", "noatime")),
        (("strictatime", "atime"), ("relatime",), ()),
        (("noatime", "strictatime", "nostrictatime"), ("relatime",), ("noatime",)),
    ],
)
def test_bind_options_take_effect(
    bench, tmp_path: Path, options: tuple[str, ...], expected: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()
    running = bench.launch(with_mounts(bench, bind(tmp_path / "data", "/data", *options)))
    actual = set(found(running, "/data").options)
    assert set(expected) <= actual
    assert not set(absent) & actual


@pytest.mark.parametrize(
    ("option", "is_shared", "is_slave"),
    [("rprivate", False, False), ("rshared", True, False), ("rslave", False, True)],
)
def test_propagation_is_what_was_asked_for(
    bench, tmp_path: Path, option: str, is_shared: bool, is_slave: bool
) -> None:
    spec = with_mounts(
        bench, {"destination": "/x", "type": "tmpfs", "source": "t"}, bind("/", "/host", option)
    )
    running = bench.launch(spec)
    assert bool(found(running, "/host").shared) == is_shared
    assert (found(running, "/x").shared, found(running, "/x").master) == (None, None)


def test_a_recursive_readonly_bind_covers_the_mounts_below(bench, tmp_path: Path) -> None:
    rro = bench.launch(with_mounts(bench, bind("/dev", "/host", "rro")))
    ro = bench.launch(with_mounts(bench, bind("/dev", "/host", "ro")))
    below = [mount.target for mount in mounts.mountinfo(ro.pid) if mount.target.startswith("/host/")]
    assert below
    assert all("ro" in found(rro, target).options for target in below)
    assert not all("ro" in found(ro, target).options for target in below)


def test_a_tmpfs_takes_size_and_mode(bench) -> None:
    entry = {
        "destination": "/t",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["size=1m", "mode=1700", "noexec"],
    }
    assert bench.run(with_mounts(bench, entry, script="stat -c %a /t; df -k /t | tail -1")).out.split()[
        :3
    ] == [
        "1700",
        "tmpfs",
        "1024",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nonsense"]}, "nonsense"),
        ({"destination": "/x", "type": "nofs", "source": "nofs"}, "/x"),
        (bind("/missing/source", "/x"), "/missing/source"),
    ],
)
def test_a_mount_that_fails_names_source_and_target_and_stops_the_start(
    bench, entry: dict, message: str
) -> None:
    with pytest.raises(StartFailed, match="mount file systems") as caught:
        bench.run(with_mounts(bench, entry))
    assert message in str(caught.value)
    assert "'/x'" in str(caught.value)


def test_the_containers_cgroups_are_shown_readonly(bench) -> None:
    entry = {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["ro", "nosuid", "noexec", "nodev"],
    }
    spec = with_mounts(bench, entry)
    spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    spec["linux"]["namespaces"] = [*spec["linux"]["namespaces"], {"type": "cgroup"}]
    running = bench.launch(spec)
    assert "ro" in found(running, "/sys/fs/cgroup").options
    value = running.execute(
        "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    )
    assert value.out == f"{64 << 20}\n"
    assert running.execute("mkdir", "/sys/fs/cgroup/pids/x").code != 0


def test_a_working_directory_is_made_when_missing(bench, own_root: Path) -> None:
    assert bench.run(bench.shell("pwd", process_cwd="/made/for/this")).out == "/made/for/this\n"
    assert stat.S_IMODE((own_root / "made/for/this").stat().st_mode) == 0o755


def test_options_are_sorted_by_who_interprets_them() -> None:
    options = Options(("ro", "rslave", "size=5m", "huge", "sync", "defaults", "z"))
    assert options.set == mounts.MOUNT_ATTR_RDONLY
    assert options.propagation == mounts.MS_SLAVE | mounts.MS_REC
    assert options.filesystem == [("size", "5m"), ("huge", None), ("sync", None)]
    assert Mount(destination="/x").options == ()
