"""minidock.runtime.launch and init: new namespaces and joined ones, the smallest spec, and failing closed."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import MinidockError, StartFailed, Unsupported
from minidock.kernel import cgroups, mounts, namespaces
from minidock.runtime import bundle, launch
from minidock.runtime.requests import LogOptions

ALL = ("mount", "pid", "ipc", "uts", "network", "cgroup", "time")


def in_namespaces(bench, *kinds: str | dict[str, str], **changes: Any) -> dict[str, Any]:
    spec = bench.spec("sleep", "1000", **changes)
    spec["linux"]["namespaces"] = [{"type": kind} if isinstance(kind, str) else kind for kind in kinds]
    return spec


def test_each_namespace_of_the_spec_is_new_and_no_other(bench) -> None:
    running = bench.launch(in_namespaces(bench, *ALL))
    for name in namespaces.NAMES:
        is_new = namespaces.inode(running.pid, name) != namespaces.inode("self", name)
        assert is_new == (name in ALL), name
    fewer = bench.launch(in_namespaces(bench, "mount", "uts"))
    for name in namespaces.NAMES:
        is_new = namespaces.inode(fewer.pid, name) != namespaces.inode("self", name)
        assert is_new == (name in ("mount", "uts")), name


@pytest.mark.parametrize("how", ["path", "descriptor"])
@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "network", "cgroup"])
def test_a_namespace_of_another_container_is_joined(bench, kind: str, how: str) -> None:
    first = bench.launch(in_namespaces(bench, *ALL))
    path = f"/proc/{first.pid}/ns/{namespaces.NAMES[kind].file}"
    entry = {"type": kind, "path": path} if how == "path" else {"type": kind}
    kinds = [one for one in ALL if one not in (kind, "time")]
    given = {kind: os.open(path, os.O_RDONLY)} if how == "descriptor" else {}
    second = bench.launch(in_namespaces(bench, *kinds, entry), namespaces=given)
    for descriptor in given.values():
        os.close(descriptor)
    for name in (*kinds, kind):
        is_same = namespaces.inode(second.pid, name) == namespaces.inode(first.pid, name)
        assert is_same == (name == kind), name


def test_after_joining_a_pid_namespace_the_shim_still_serves_others(bench) -> None:
    first = bench.launch(in_namespaces(bench, *ALL))
    joined = {"type": "pid", "path": f"/proc/{first.pid}/ns/pid"}
    second = bench.launch(in_namespaces(bench, "mount", "uts", joined))
    assert second.execute("true").code == 0
    assert namespaces.inode(second.shim.shim_pid, "pid") == namespaces.inode("self", "pid")
    assert f"{second.pid}" not in second.execute("ls", "/proc").out.split()


@pytest.mark.parametrize(
    ("entry", "step"),
    [
        ({"type": "network", "path": "/proc/self/ns/uts"}, "join namespaces"),
        ({"type": "network", "path": "/missing"}, "join namespaces"),
        ({"type": "pid", "path": "/missing"}, "no such file"),
        ({"type": "nonsense"}, "nonsense"),
    ],
)
def test_a_namespace_that_cannot_be_had_stops_the_start(bench, entry: dict[str, str], step: str) -> None:
    spec = in_namespaces(bench, "mount", "uts", entry)
    with pytest.raises(StartFailed, match=step):
        bench.launch(spec)


def test_a_new_user_namespace_is_refused(bench) -> None:
    with pytest.raises(StartFailed, match="user namespace"):
        bench.launch(in_namespaces(bench, "mount", "uts", "user"))


def test_three_lines_are_a_spec(bench, peer) -> None:
    client = peer()
    running = bench.launch({"process": {"args": ["/bin/busybox", "echo", "hi"]}}, client)
    ended = running.wait()
    assert (ended.code, ended.out) == (0, "hi\n")


def test_the_hostname_is_the_containers_only(bench) -> None:
    before = socket.gethostname()
    assert bench.run(bench.spec("hostname", hostname="inside", domainname="dom")).out == "inside\n"
    assert bench.run(bench.spec("dnsdomainname", domainname="dom")).code in (0, 1)
    assert socket.gethostname() == before


def test_the_program_is_in_its_cgroup_and_so_are_its_children(bench) -> None:
    spec = in_namespaces(bench, "mount", "pid", "uts")
    spec["linux"]["resources"] = {"pids": {"limit": 77}}
    running = bench.launch(spec)
    running.begin_exec("sleep", "1000")
    group = cgroups.at(spec["linux"]["cgroupsPath"])
    assert len(group.processes()) == 2
    assert running.shim.shim_pid not in group.processes()
    pids = Path(group.paths()["pids"] if "pids" in group.paths() else group.paths()[cgroups.UNIFIED])
    assert (pids / "pids.max").read_text() == "77\n"


def test_a_relative_cgroup_path_begins_at_the_top(bench) -> None:
    spec = bench.spec("true")
    spec["linux"]["cgroupsPath"] = spec["linux"]["cgroupsPath"].lstrip("/")
    running = bench.launch(spec)
    running.cgroup = f"/{running.cgroup}"
    assert running.event("exit")["exit_code"] == 0


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"root": {"path": "/missing/root"}}, "attach the root.*missing"),
    ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["bad"]}]}, "mount file systems.*bad"),
    ({"process": {"args": ["/missing"]}}, r'exec: "/missing": no such file'),
    ({"process": {"args": ["true"], "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}}, "set limits"),
    ({"process": {"args": ["true"], "capabilities": {"bounding": ["CAP_X"]}}}, "change identity.*CAP_X"),
    ({"process": {"args": ["true"], "cwd": "/bin/busybox/x"}}, "Cannot mkdir: /bin/busybox is not"),
    ({"process": {"args": []}}, "args"),
]


@pytest.mark.parametrize(("changes", "words"), FAILURES)
def test_a_step_that_fails_is_named_and_nothing_is_left(bench, changes: dict[str, Any], words: str) -> None:
    spec = {**bench.spec("true"), **changes}
    children = Path(f"/proc/{bench.spawner.pid}/task/{bench.spawner.pid}/children")
    before = (Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd")))
    with pytest.raises(StartFailed, match=words):
        bench.launch(spec)
    assert (Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))) == before
    assert not cgroups.at(spec["linux"]["cgroupsPath"]).exists()
    (directory,) = [path for path in bench.directory.iterdir() if path.is_dir()]
    assert [path.name for path in directory.iterdir() if path.name != "log.json"] == []
    deadline = time.monotonic() + 30
    while children.read_text():  # the shim reports first and then exits
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/x/../y", "//", "/", "system.slice:runc:x/../.."])
def test_a_cgroup_path_that_leads_elsewhere_is_refused(bench, path: str) -> None:
    spec = bench.spec("true")
    spec["linux"]["cgroupsPath"] = path
    with pytest.raises(StartFailed, match="cgroup"):
        bench.launch({**spec})


def test_a_limit_that_does_not_take_stops_the_start_and_leaves_no_cgroup(bench) -> None:
    spec = bench.spec("true")
    spec["linux"]["resources"] = {"cpu": {"cpus": "9999"}}
    with pytest.raises(StartFailed):
        bench.launch(spec)
    assert not cgroups.at(spec["linux"]["cgroupsPath"]).exists()


def test_a_socket_that_is_in_use_is_left_to_its_owner(bench) -> None:
    first = bench.launch(bench.spec("sleep", "1000"))
    request = bench.request(bench.spec("true"))
    os.rmdir(request.socket_directory) if os.path.exists(request.socket_directory) else None
    taken = type(request)(**{**vars(request), "socket_directory": first.socket_directory})
    with pytest.raises(StartFailed, match="in use"):
        bench.spawner.launch(taken)
    assert first.execute("true").code == 0


def test_an_init_that_is_killed_before_its_program_is_a_failed_start(bench) -> None:
    """The end of the channel means success only after init has said that it is prepared."""
    spec = bench.spec("true")
    spec["linux"]["resources"] = {"memory": {"limit": 100 << 10, "swap": 100 << 10}}
    with pytest.raises(StartFailed, match="memory limit"):
        bench.run(spec)


def test_a_log_that_cannot_be_opened_stops_the_start(bench) -> None:
    with pytest.raises(StartFailed, match="/missing/log"):
        bench.launch(bench.spec("true"), log=LogOptions("json-file", "/missing/log"))


def test_a_detached_root_belongs_to_the_container_alone(bench, busybox_root: Path) -> None:
    detached = mounts.open_tree(str(busybox_root))
    place = bench.directory / "place"
    place.mkdir()
    spec = bench.shell("ls /bin/busybox; sleep 0.2")
    spec["root"]["path"] = str(place)
    running = bench.launch(spec, client := bench.make_peer(), rootfs=detached)
    os.close(detached)
    assert list(place.iterdir()) == []
    assert client.wait().streams()[1] == b"/bin/busybox\n"
    assert running.event("exit")["exit_code"] == 0


def test_mounts_in_a_detached_root_never_reach_the_mount_it_was_cloned_from(
    bench, busybox_root: Path
) -> None:
    """A clone of a shared mount is its peer: /proc of a container once appeared in the source on the host."""
    source, place = bench.directory / "shared-source", bench.directory / "place-of-clone"
    source.mkdir()
    place.mkdir()
    mounts.mount(str(busybox_root), str(source), None, mounts.MS_BIND)
    try:
        mounts.mount(None, str(source), None, mounts.MS_SHARED)
        detached = mounts.open_tree(str(source))
        spec = bench.shell("sleep 1000")
        spec["root"]["path"] = str(place)
        running = bench.launch(spec, rootfs=detached)
        os.close(detached)
        assert any(mount.target == "/proc" for mount in mounts.mountinfo(running.pid))
        assert [mount.target for mount in mounts.mountinfo() if mount.target.startswith(f"{source}/")] == []
    finally:
        mounts.umount(str(source), mounts.MNT_DETACH)


def test_the_steps_are_traced_in_their_order(bench) -> None:
    reading, writing = os.pipe()
    bench.run(bench.spec("true", hostname="traced"), trace=writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        records = [json.loads(line) for line in pipe]
    steps = [record["step"] for record in records]
    wanted = [
        "create the cgroup",
        "join cgroups",
        "isolate the mounts",
        "enter the root",
        "change identity",
        "exec",
    ]
    assert [step for step in steps if step in wanted] == wanted
    assert "clone init" in steps
    for record in records:
        module, _, function = record["function"].partition(":")
        assert module.startswith(("minidock.", "socket", "_socket", "os", "posix")), record
        assert function


def test_init_holds_only_what_it_needs_while_it_waits(bench, tmp_path: Path) -> None:
    """A created container of runc's kind waits before its program: what leaked would show here."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    start = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    leak = os.open("/etc/passwd", os.O_RDONLY)
    spec = bundle.parse(json.dumps(bench.spec("true")).encode())
    group = launch.create_cgroup(spec)
    assert group is not None
    null = os.open("/dev/null", os.O_RDWR)
    launched = launch.start(spec, group, launch.Resources(descriptors=[null] * 3, start_fifo=start))
    try:
        held = {
            os.readlink(f"/proc/{launched.pid}/fd/{name}") for name in os.listdir(f"/proc/{launched.pid}/fd")
        }
        assert "/etc/passwd" not in held
        allowed = ("/dev/", "pipe:", "socket:", str(fifo), "/sys/fs/cgroup", "/")
        assert all(name.startswith(allowed) for name in held)
        assert len([name for name in held if name.startswith("socket:")]) == 1
    finally:
        os.kill(launched.pid, 9)
        os.waitpid(launched.pid, 0)
        for descriptor in (start, leak, null, launched.root):
            os.close(descriptor)
        group.kill()
        group.delete()


def test_unsupported_specs_are_refused_by_the_client_already(bench) -> None:
    with pytest.raises(Unsupported):
        bench.launch({**bench.spec("true"), "hooks": {"prestart": [{"path": "/x"}]}})
    with pytest.raises(MinidockError):
        bench.launch({"process": 5})
