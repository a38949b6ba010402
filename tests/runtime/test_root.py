"""minidock.runtime.root: a private tree and no way back, on hosts whose mounts are private or shared."""

import errno
import os
from pathlib import Path

import pytest

from minidock.kernel import mounts, namespaces, process
from minidock.runtime import root

# pivot_root(2): EBUSY when the directory is on the present root's mount, EINVAL when it is on another one.
NO_MOUNT_POINT = (errno.EBUSY, errno.EINVAL)


def forked(body) -> int:
    """Run `body` in a child with its own mount namespace; return 0, or the errno it failed with."""
    pid = process.clone(namespaces.CLONE_NEWNS)
    if pid == 0:
        try:
            body()
        except OSError as error:
            os._exit(error.errno)
        except BaseException:
            os._exit(255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def targets() -> list[str]:
    return sorted(mount.target for mount in mounts.mountinfo())


@pytest.fixture
def tree(tmp_path: Path) -> str:
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/marker").touch()
    return str(tmp_path / "root")


def test_the_new_root_is_all_there_is_and_the_outside_sees_nothing(in_mount_sandbox, tree: str) -> None:
    def body() -> list[object]:
        before = targets()

        def inside() -> None:
            root.isolate_mounts()
            root.attach_root(tree)
            root.enter(tree)
            assert sorted(os.listdir("/")) == ["marker", "proc"]
            assert os.getcwd() == "/"
            mounts.mount("proc", "/proc", "proc")
            assert targets() == ["/", "/proc"]
            assert not any(os.readlink(f"/proc/self/fd/{name}") == "/bin" for name in ("0", "1", "2"))

        return [forked(inside), targets() == before]

    assert in_mount_sandbox(body) == [0, True]


def test_a_detached_root_is_attached_inside_only(in_mount_sandbox, tree: str) -> None:
    def body() -> list[object]:
        detached = mounts.detached("tmpfs", [])
        before = targets()

        def inside() -> None:
            root.isolate_mounts()
            root.attach_root(tree, detached)
            root.enter(tree)
            assert os.listdir("/") == []
            Path("/written").touch()

        code = forked(inside)
        held = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=detached)
        return [code, targets() == before, os.listdir(held)]

    assert in_mount_sandbox(body) == [0, True, ["written"]]


def test_without_isolation_a_mount_leaks_where_the_tree_is_shared(
    in_mount_sandbox, tree: str, request
) -> None:
    """The twin: leave the step out, and the outer tree changes exactly when it is shared."""
    is_shared = "[shared]" in request.node.name

    def body() -> list[object]:
        before = targets()
        code = forked(lambda: root.attach_root(tree))
        return [code, targets() == before]

    assert in_mount_sandbox(body) == [0, not is_shared]


def test_pivot_root_needs_a_mount_point(in_mount_sandbox, tree: str) -> None:
    def inside() -> None:
        root.isolate_mounts()
        root.pivot(tree)

    assert in_mount_sandbox(lambda: forked(inside)) in NO_MOUNT_POINT


def test_pivot_root_refuses_the_present_root(in_mount_sandbox) -> None:
    def inside() -> None:
        root.isolate_mounts()
        root.pivot("/")

    assert in_mount_sandbox(lambda: forked(inside)) in NO_MOUNT_POINT


def test_a_shared_parent_is_refused_by_the_kernel(in_child, tree: str) -> None:
    def body() -> int:
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_SHARED)

        def inside() -> None:
            root.attach_root(tree)
            root.pivot(tree)

        return forked(inside)

    def sandboxed() -> int:
        mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
        return body()

    assert in_child(sandboxed, namespaces.CLONE_NEWNS) == errno.EINVAL


def test_the_way_without_pivot_root_ends_in_the_same_place(in_mount_sandbox, tree: str) -> None:
    def inside() -> None:
        root.isolate_mounts()
        root.attach_root(tree)
        root.enter_without_pivot(tree)
        assert sorted(os.listdir("/")) == ["marker", "proc"]
        assert sorted(os.listdir("/..")) == ["marker", "proc"]

    assert in_mount_sandbox(lambda: forked(inside)) == 0


def test_an_error_of_pivot_root_is_not_hidden_by_the_fallback(in_mount_sandbox, tree: str) -> None:
    assert not root.on_initramfs()

    def inside() -> None:
        root.isolate_mounts()
        root.enter(tree)

    assert in_mount_sandbox(lambda: forked(inside)) in NO_MOUNT_POINT


def test_a_container_sees_only_its_own_mounts_and_the_host_none_of_them(bench) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    running = bench.launch(bench.spec("sleep", "1000"))
    inside = sorted(mount.target for mount in mounts.mountinfo(running.pid))
    assert inside == ["/", "/dev", "/dev/pts", "/dev/shm", "/proc", "/sys"]
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not any(mount.shared for mount in mounts.mountinfo(running.pid))


def test_a_readonly_root_refuses_writes_and_a_writable_one_takes_them(bench, own_root: Path) -> None:
    spec = bench.shell("touch /new 2>/dev/null; echo $?")
    assert bench.run(spec).out == "0\n"
    assert (own_root / "new").exists()
    spec = bench.shell("touch /other 2>/dev/null; echo $?; touch /dev/shm/x; echo $?")
    spec["root"]["readonly"] = True
    assert bench.run(spec).out == "1\n0\n"


def test_a_root_without_a_mount_namespace_is_a_chroot(bench) -> None:
    spec = bench.shell("ls -d /bin/busybox; ls /var 2>/dev/null")
    del spec["mounts"]
    spec["linux"]["namespaces"] = [{"type": "uts"}]
    ended = bench.run(spec)
    assert ended.out == "/bin/busybox\n"
