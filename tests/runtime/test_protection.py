"""minidock.runtime.protection: masks, read-only paths and sysctls, also against an image's own /dev/null."""

import os
from pathlib import Path

import pytest

from minidock.errors import StartFailed
from minidock.kernel import mounts, namespaces
from minidock.runtime import protection

MASKED = [
    "/proc/kcore",
    "/proc/acpi",
    "/proc/scsi",
    "/proc/keys",
    "/proc/timer_list",
    "/sys/firmware",
    "/proc/none",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/none"]


def protected(bench, script: str, **linux):
    spec = bench.shell(script)
    spec["linux"] |= {"maskedPaths": MASKED, "readonlyPaths": READONLY, **linux}
    return spec


def test_masked_files_are_empty_and_masked_directories_too(bench) -> None:
    existing = [path for path in MASKED if os.path.exists(path)]
    assert existing
    ended = bench.run(
        protected(bench, f"for p in {' '.join(existing)}; do [ -d $p ] && ls $p || cat $p; done")
    )
    assert (ended.out, ended.err) == ("", "")
    assert bench.run(bench.shell("ls /sys/firmware; head -c 1 /proc/timer_list")).out


def test_each_mask_is_one_mount_and_masked_directories_share_one_file_system(bench) -> None:
    running = bench.launch(protected(bench, "exec sleep 1000"))
    found = [mount for mount in mounts.mountinfo(running.pid) if mount.target in MASKED]
    assert sorted(mount.target for mount in found) == sorted(path for path in MASKED if os.path.exists(path))
    directories = {mount.device for mount in found if mount.fstype == "tmpfs" and os.path.isdir(mount.target)}
    assert len(directories) == 1
    assert all("ro" in mount.options for mount in found if os.path.isdir(mount.target))


def test_masked_paths_cannot_be_uncovered_or_written(bench) -> None:
    ended = bench.run(protected(bench, "umount /proc/kcore; umount /sys/firmware; touch /sys/firmware/x"))
    assert ended.code != 0
    assert len(ended.err.splitlines()) == 3


def test_readonly_paths_cannot_be_written_and_keep_their_other_options(bench) -> None:
    running = bench.launch(protected(bench, "exec sleep 1000"))
    for mount in mounts.mountinfo(running.pid):
        if mount.target in READONLY:
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.options)
    script = "echo 1 >/proc/sys/net/ipv4/ip_forward"
    assert "Read-only file system" in running.execute("sh", "-c", script).err
    twin = bench.launch(bench.shell("exec sleep 1000"))
    assert "Operation not permitted" in twin.execute("sh", "-c", script).err  # a right, not the mount


def test_without_the_lists_nothing_is_covered(bench) -> None:
    running = bench.launch(bench.spec("sleep", "1000"))
    assert not [mount for mount in mounts.mountinfo(running.pid) if mount.target in MASKED + READONLY]


@pytest.mark.parametrize("kind", ["symlink", "file", "missing"])
def test_an_images_own_dev_null_is_never_the_source_of_a_mask(
    bench, own_root: Path, tmp_path: Path, kind: str
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("canary")
    null = own_root / "dev/null"
    if kind == "symlink":
        null.symlink_to(canary)
    elif kind == "file":
        null.write_text("not null")
    spec = protected(bench, "cat /proc/keys; echo spoilt >/proc/keys; stat -c %F /proc/keys")
    spec["mounts"] = [entry for entry in spec["mounts"] if entry["destination"] == "/proc"]
    ended = bench.run(spec)
    assert ended.out == "character special file\n"
    assert canary.read_text() == "canary"


def test_a_link_in_the_way_of_a_mask_stops_the_start(bench, own_root: Path) -> None:
    (own_root / "trap").symlink_to("/etc")
    spec = bench.shell("true")
    spec["linux"]["maskedPaths"] = ["/trap/passwd"]
    with pytest.raises(StartFailed, match="protect"):
        bench.run(spec)


def test_the_hosts_null_device_is_verified(in_child, tmp_path: Path) -> None:
    descriptor = protection.host_null()
    assert os.fstat(descriptor).st_rdev == protection.NULL_DEVICE
    os.close(descriptor)
    fake = tmp_path / "fake"
    fake.touch()

    def body() -> str:
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
        mounts.mount(str(fake), "/dev/null", None, mounts.MS_BIND)
        try:
            protection.host_null()
        except OSError as error:
            return str(error)
        return "accepted"

    assert "not the null device" in in_child(body, namespaces.CLONE_NEWNS)


def test_sysctls_are_set_in_the_containers_namespaces_only(bench) -> None:
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    values = {"net.ipv4.ip_default_ttl": "33", "kernel.shm_rmid_forced": "1", "kernel.domainname": "dom"}
    script = "cd /proc/sys; cat net/ipv4/ip_default_ttl kernel/shm_rmid_forced kernel/domainname"
    assert bench.run(protected(bench, script, sysctl=values)).out == "33\n1\ndom\n"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == before


@pytest.mark.parametrize(
    ("name", "value"), [("net.ipv4.nonsense", "1"), ("net.ipv4.ip_default_ttl", "words")]
)
def test_a_sysctl_that_does_not_take_stops_the_start_and_is_named(bench, name: str, value: str) -> None:
    with pytest.raises(StartFailed, match=name.replace(".", r"\.")):
        bench.run(protected(bench, "true", sysctl={name: value}))


@pytest.mark.parametrize("where", ["read-only /proc", "something over /proc/sys", "no /proc"])
def test_sysctls_are_set_wherever_the_containers_own_procfs_cannot_be_written(bench, where: str) -> None:
    spec = protected(bench, "cat /seen/sys/net/ipv4/ip_default_ttl", sysctl={"net.ipv4.ip_default_ttl": "33"})
    others = [entry for entry in spec["mounts"] if entry["destination"] != "/proc"]
    proc = {"destination": "/proc", "type": "proc", "source": "proc", "options": []}
    cover = {"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs", "options": []}
    own = {
        "read-only /proc": [{**proc, "options": ["ro"]}],
        "something over /proc/sys": [proc, cover],
        "no /proc": [],
    }
    spec["mounts"] = [*own[where], *others, {**proc, "destination": "/seen"}]
    assert bench.run(spec).out == "33\n"
