"""minidock.kernel.namespaces: inodes before and after, joined by file and by pidfd."""

import os
import signal
import socket

import pytest

from minidock.kernel import mounts, namespaces, process

UNSHARED_AT_ONCE = sorted(set(namespaces.NAMES) - {"pid", "time"})
HOST_IDS = [(0, 1000, 1), (1, 100000, 500)]


@pytest.fixture
def sleeper():
    """Start sleeping processes in new namespaces; end them afterwards."""
    pids = []

    def start(flags: int) -> int:
        pid = process.clone(flags)
        if pid == 0:
            process.set_parent_death_signal(signal.SIGKILL)
            while True:
                signal.pause()
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("name", UNSHARED_AT_ONCE)
def test_unshare_gives_the_caller_a_new_namespace_of_that_kind_only(in_child, name: str) -> None:
    before = {other: namespaces.inode("self", other) for other in namespaces.NAMES}

    def body() -> dict[str, int]:
        namespaces.unshare(namespaces.NAMES[name].flag)
        return {other: namespaces.inode("self", other) for other in namespaces.NAMES}

    after = in_child(body)
    assert {other for other in after if after[other] != before[other]} == {name}
    assert before == {other: namespaces.inode("self", other) for other in namespaces.NAMES}


@pytest.mark.parametrize("name", ["pid", "time"])
def test_pid_and_time_namespaces_begin_with_the_next_child(in_child, name: str) -> None:
    def body() -> tuple[int, int, int, int]:
        before = namespaces.inode("self", name)
        namespaces.unshare(namespaces.NAMES[name].flag)
        promised = (
            os.stat(f"/proc/self/ns/{namespaces.NAMES[name].file}_for_children").st_ino
            if name == "time"
            else 0
        )
        own = namespaces.inode("self", name)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(reading, 1)
            os._exit(0)
        child = namespaces.inode(pid, name)
        os.write(writing, b"x")
        os.waitpid(pid, 0)
        return before, own, promised, child

    before, own, promised, child = in_child(body)
    assert own == before
    assert child != before
    assert promised in (0, child)


def test_setns_joins_by_namespace_file_and_refuses_another_kind(in_child, sleeper) -> None:
    pid = sleeper(namespaces.CLONE_NEWUTS)

    def body() -> int:
        descriptor = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY)
        with pytest.raises(OSError, match="Invalid argument"):
            namespaces.setns(descriptor, namespaces.CLONE_NEWNET)
        namespaces.setns(descriptor, namespaces.CLONE_NEWUTS)
        return namespaces.inode("self", "uts")

    assert in_child(body) == namespaces.inode(pid, "uts") != namespaces.inode("self", "uts")


def test_setns_with_a_pidfd_joins_several_namespaces_at_once(in_child, sleeper) -> None:
    flags = (
        namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWNET | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWIPC
    )
    pid = sleeper(flags)

    def body() -> list[int]:
        namespaces.setns(process.pidfd_open(pid), flags)
        return [namespaces.inode("self", name) for name in ("uts", "network", "mount", "ipc", "cgroup")]

    joined = in_child(body)
    assert joined == [namespaces.inode(pid, name) for name in ("uts", "network", "mount", "ipc", "cgroup")]
    assert namespaces.inode("self", "uts") not in joined


def test_setns_into_what_is_no_namespace_names_the_descriptor(in_child) -> None:
    def body() -> str:
        with pytest.raises(OSError, match="descriptor 0"):
            namespaces.setns(0)
        return "refused"

    assert in_child(body) == "refused"


def test_a_host_name_set_in_a_new_uts_namespace_stays_there(in_child) -> None:
    before = socket.gethostname()

    def body() -> str:
        namespaces.unshare(namespaces.CLONE_NEWUTS)
        socket.sethostname("inside")
        return socket.gethostname()

    assert in_child(body) == "inside"
    assert socket.gethostname() == before


def test_a_mount_in_a_new_namespace_of_a_shared_tree_leaks_unless_the_tree_is_made_private(
    in_mount_sandbox,
) -> None:
    def mounts_after(make_private: bool) -> int:
        def inner() -> None:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            if make_private:
                mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
            mounts.mount("leak", "/mnt", "tmpfs")

        pid = os.fork()
        if pid == 0:
            try:
                inner()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return sum(mount.source == "leak" for mount in mounts.mountinfo())

    def body() -> tuple[bool, int, int]:
        root = next(mount for mount in reversed(mounts.mountinfo()) if mount.target == "/")
        return root.shared is not None, mounts_after(make_private=True), mounts_after(make_private=False)

    shared, careful, careless = in_mount_sandbox(body)
    assert careful == 0
    assert careless == (1 if shared else 0)


def test_id_maps_translate_the_ids_of_a_user_namespace(sleeper) -> None:
    pid = sleeper(namespaces.CLONE_NEWUSER)
    namespaces.write_id_maps(pid, HOST_IDS, [(0, 2000, 1)])
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
        assert [tuple(map(int, line.split())) for line in file] == HOST_IDS
    with open(f"/proc/{pid}/gid_map", encoding="ascii") as file:
        assert file.read().split() == ["0", "2000", "1"]
    with pytest.raises(PermissionError, match=f"/proc/{pid}/gid_map"):
        namespaces.write_id_maps(pid, HOST_IDS, HOST_IDS)


def test_an_id_map_that_the_kernel_refuses_is_an_error_with_its_path(sleeper) -> None:
    pid = sleeper(namespaces.CLONE_NEWUSER)
    with pytest.raises(OSError, match=f"/proc/{pid}/gid_map"):
        namespaces.write_id_maps(pid, [(0, 0, 1)], [(0, 0, 10), (5, 50, 10)])


def test_a_namespace_dies_with_its_last_holder_and_a_descriptor_is_a_holder(in_child, sleeper) -> None:
    pid = process.clone(namespaces.CLONE_NEWUTS)
    if pid == 0:
        signal.pause()
        os._exit(0)
    descriptor = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    held = namespaces.inode(pid, "uts")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:

        def body() -> int:
            namespaces.setns(descriptor)
            return namespaces.inode("self", "uts")

        assert in_child(body) == held
    finally:
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        namespaces.inode(pid, "uts")


def test_the_names_are_those_of_the_oci_specification_and_the_files_exist() -> None:
    assert set(namespaces.NAMES) == {"user", "mount", "pid", "network", "uts", "ipc", "cgroup", "time"}
    for name in namespaces.NAMES:
        assert namespaces.inode(os.getpid(), name) == namespaces.inode("self", name) > 0
