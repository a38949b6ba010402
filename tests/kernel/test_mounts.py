"""minidock.kernel.mounts: seen from mountinfo, from other mount namespaces, and from the disk below.

Everything runs in a mount namespace of its own, once with a private and once with a shared tree.
"""

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

from minidock.kernel import mounts, namespaces, openat2

OWN_TREE = mounts.MS_REC | mounts.MS_PRIVATE


def at(target: Path | str) -> list[mounts.MountInfo]:
    """Return the mounts on `target`, the uppermost last."""
    return [mount for mount in mounts.mountinfo() if mount.target == str(target)]


def in_inner_namespace(body) -> object:
    """Run `body` in a child with its own private mount namespace, as init does; return its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mounts.mount(None, "/", None, OWN_TREE)
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Return a directory with what an overlay needs, below an empty `stage` to mount a tmpfs on."""
    for name in ("stage", "target", "other"):
        (tmp_path / name).mkdir()
    return tmp_path


def overlay_on(stage: Path) -> int:
    """Mount a tmpfs on `stage`, fill it with two layers, and return a detached overlay of them."""
    mounts.mount("stage", stage, "tmpfs")
    for name in ("lower", "upper", "work"):
        (stage / name).mkdir()
    (stage / "lower" / "below").write_text("from the lower layer")
    os.symlink("/etc/passwd", stage / "lower" / "absolute")
    return overlay_again(stage)


def overlay_again(stage: Path) -> int:
    """Return a detached overlay of the layers in `stage`; with index=on, EBUSY for an upperdir in use."""
    layers = {"lowerdir": stage / "lower", "upperdir": stage / "upper", "workdir": stage / "work"}
    return mounts.detached("overlay", [("index", "on"), *((key, str(path)) for key, path in layers.items())])


def test_mount_and_umount_show_in_mountinfo(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        mounts.mount("token", tmp_path, "tmpfs", flags, "size=64k,mode=711")
        (mount,) = at(tmp_path)
        assert (mount.fstype, mount.source, mount.root) == ("tmpfs", "token", "/")
        assert {"nosuid", "nodev", "noexec", "rw"} <= set(mount.options)
        assert {"size=64k", "mode=711"} <= set(mount.super_options)
        assert mount.device == "{}:{}".format(*divmod(os.stat(tmp_path).st_dev, 256))
        mounts.umount(tmp_path)
        assert at(tmp_path) == []

    in_mount_sandbox(body)


def test_umount_of_what_is_no_mount_is_an_error_that_names_it(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        with pytest.raises(OSError, match=str(tmp_path)) as caught:
            mounts.umount(tmp_path)
        assert caught.value.errno == errno.EINVAL

    in_mount_sandbox(body)


def test_a_failed_mount_says_what_was_asked_for(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        with pytest.raises(OSError, match=str(tmp_path)) as caught:
            mounts.mount("thing", tmp_path, "nosuchfs", mounts.MS_RDONLY)
        assert caught.value.errno == errno.ENODEV
        notes = "\n".join(caught.value.__notes__)
        assert "mount(2)" in notes
        assert "'nosuchfs'" in notes

    in_mount_sandbox(body)


def test_a_busy_mount_goes_only_with_mnt_detach(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        mounts.mount("busy", tmp_path, "tmpfs")
        with open(tmp_path / "file", "w") as file:
            with pytest.raises(OSError, match="busy"):
                mounts.umount(tmp_path)
            mounts.umount(tmp_path, mounts.MNT_DETACH)
            assert at(tmp_path) == []
            file.write("still writable")

    in_mount_sandbox(body)


def test_a_bind_mount_needs_a_remount_to_become_read_only(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        target = layers / "target"
        mounts.mount(layers / "other", target, None, mounts.MS_BIND | mounts.MS_RDONLY)
        (target / "written").touch()  # mount(2) ignores MS_RDONLY together with MS_BIND
        mounts.mount(None, target, None, mounts.MS_BIND | mounts.MS_REMOUNT | mounts.MS_RDONLY)
        with pytest.raises(OSError, match="Read-only"):
            (target / "again").touch()
        assert at(target)[0].root.endswith(str(layers / "other")[-20:])

    in_mount_sandbox(body)


def test_names_with_spaces_backslashes_and_newlines_come_back_unescaped(
    in_mount_sandbox, tmp_path: Path
) -> None:
    target = tmp_path / "a b\tc\nd\\e#f\\040g"
    target.mkdir()

    def body() -> None:
        mounts.mount("so urce\\", target, "tmpfs")
        (mount,) = at(target)
        assert mount.source == "so urce\\"
        assert str(target).encode() not in Path("/proc/self/mountinfo").read_bytes()  # it is escaped there

    in_mount_sandbox(body)


def test_undecodable_names_survive(in_mount_sandbox, tmp_path: Path) -> None:
    target = os.path.join(os.fsencode(tmp_path), b"\xff\xfe")
    os.mkdir(target)

    def body() -> None:
        mounts.mount("bytes", target, "tmpfs")
        assert [os.fsencode(mount.target) for mount in mounts.mountinfo() if mount.source == "bytes"] == [
            target
        ]

    in_mount_sandbox(body)


def test_an_empty_source_and_an_option_with_a_comma_do_not_shift_the_fields(
    in_mount_sandbox, layers: Path
) -> None:
    def body() -> None:
        mounts.mount("", layers / "target", "tmpfs", 0, "size=128k")
        (mount,) = at(layers / "target")
        assert (mount.source, mount.fstype) == ("", "tmpfs")
        assert "size=128k" in mount.super_options
        lower = layers / "stage" / "a,b"
        lower.mkdir()
        # By mount(2): before 6.5 overlayfs has no fsconfig of its own, and the generic one refuses commas.
        escaped = str(lower).replace(",", "\\,")
        mounts.mount("overlay", layers / "stage", "overlay", 0, f"lowerdir={escaped}:{layers / 'other'}")
        assert f"lowerdir={lower}:{layers / 'other'}" in [
            option.replace("\\,", ",").replace("lowerdir+=", "lowerdir=")
            for option in at(layers / "stage")[0].super_options
        ]

    in_mount_sandbox(body)


def test_propagation_is_read_from_the_optional_fields(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        mounts.mount("t", tmp_path, "tmpfs", 0)
        mounts.mount(None, tmp_path, None, mounts.MS_PRIVATE)
        (mount,) = at(tmp_path)
        assert (mount.shared, mount.master, mount.propagate_from, mount.unbindable) == (
            None,
            None,
            None,
            False,
        )
        mounts.mount(None, tmp_path, None, mounts.MS_SHARED)
        group = at(tmp_path)[0].shared
        assert group
        peer = tmp_path / "peer"
        peer.mkdir()
        mounts.mount(tmp_path, peer, None, mounts.MS_BIND)
        assert at(peer)[0].shared == group
        mounts.mount(None, peer, None, mounts.MS_SLAVE)
        assert (at(peer)[0].shared, at(peer)[0].master) == (None, group)
        mounts.mount(None, peer, None, mounts.MS_SHARED)
        both = at(peer)[0]
        assert both.master == group
        assert both.shared not in (None, group)
        mounts.mount(None, tmp_path, None, mounts.MS_UNBINDABLE)
        assert at(tmp_path)[0].unbindable
        with pytest.raises(OSError, match="Invalid argument"):
            mounts.mount(tmp_path, peer, None, mounts.MS_BIND)

    in_mount_sandbox(body)


def test_mountinfo_of_another_process_shows_its_namespace(in_mount_sandbox, tmp_path: Path) -> None:
    def body() -> None:
        outer = os.getpid()

        def inner() -> None:
            mounts.mount("mine", tmp_path, "tmpfs")
            assert [mount.target for mount in mounts.mountinfo() if mount.source == "mine"] == [str(tmp_path)]
            assert [mount for mount in mounts.mountinfo(outer) if mount.source == "mine"] == []

        assert in_inner_namespace(inner) == 0

    in_mount_sandbox(body)


def test_a_detached_mount_is_in_nobodys_mountinfo_and_close_on_exec(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        before = mounts.mountinfo()
        tree = mounts.detached("tmpfs", [("size", "64k"), ("source", "token")])
        assert mounts.mountinfo() == before
        assert fcntl.fcntl(tree, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        mounts.move_mount(tree, layers / "target")
        assert [mount.source for mount in at(layers / "target")] == ["token"]  # the twin: attached, it shows

    in_mount_sandbox(body)


def test_a_detached_overlay_is_a_directory_descriptor_for_openat2(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        tree = overlay_on(layers / "stage")
        assert not [
            mount for mount in mounts.mountinfo() if mount.fstype == "overlay" and str(layers) in mount.target
        ]
        below = openat2.open_in_root(tree, "below", os.O_RDONLY)
        assert os.read(below, 100) == b"from the lower layer"
        with pytest.raises(FileNotFoundError):  # the link stays inside, where there is no /etc
            openat2.open_in_root(tree, "absolute", os.O_RDONLY)
        os.close(openat2.make_file_in_root(tree, "a/new/file"))
        listing = openat2.open_in_root(tree, ".", os.O_RDONLY | os.O_DIRECTORY)
        assert sorted(os.listdir(listing)) == ["a", "absolute", "below"]
        assert (layers / "stage" / "upper" / "a" / "new" / "file").is_file()
        assert not (layers / "stage" / "lower" / "a").exists()

    in_mount_sandbox(body)


def test_a_child_attaches_the_overlay_in_its_own_namespace_and_nobody_else_sees_it(
    in_mount_sandbox, layers: Path
) -> None:
    def body() -> None:
        tree = overlay_on(layers / "stage")
        before = mounts.mountinfo()

        def inner() -> None:
            mounts.move_mount(tree, layers / "target")
            (mount,) = at(layers / "target")
            assert mount.fstype == "overlay"
            assert (layers / "target" / "below").read_text() == "from the lower layer"
            (layers / "target" / "written").write_text("by the child")

        assert in_inner_namespace(inner) == 0
        assert mounts.mountinfo() == before
        assert not (layers / "target" / "below").exists()
        assert (layers / "stage" / "upper" / "written").read_text() == "by the child"

    in_mount_sandbox(body)


def test_closing_the_descriptor_frees_a_detached_mount(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        tree = overlay_on(layers / "stage")
        with pytest.raises(OSError, match="busy"):
            overlay_again(layers / "stage")
        os.close(tree)
        os.close(overlay_again(layers / "stage"))

    in_mount_sandbox(body)


def test_the_death_of_the_holder_frees_a_detached_mount(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        tree = overlay_on(layers / "stage")
        reading, writing = os.pipe()
        holder = os.fork()
        if holder == 0:
            os.write(writing, b"x")
            signal.pause()
            os._exit(0)
        os.close(tree)
        os.read(reading, 1)
        with pytest.raises(OSError, match="busy"):
            overlay_again(layers / "stage")
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(overlay_again(layers / "stage"))

    in_mount_sandbox(body)


def test_an_attached_mount_can_be_cloned_through_the_descriptor_that_made_it(
    in_mount_sandbox, layers: Path
) -> None:
    # Before 6.15 a mount that is still detached cannot: EINVAL. So whoever needs many attaches the first one.
    def body() -> None:
        tree = mounts.detached("tmpfs", [], mounts.MOUNT_ATTR_RDONLY)
        mounts.move_mount(tree, layers / "other")
        flags = mounts.OPEN_TREE_CLONE | mounts.AT_EMPTY_PATH
        mounts.move_mount(mounts.open_tree("", flags, dir_fd=tree), layers / "target")
        first, second = at(layers / "other")[0], at(layers / "target")[0]
        assert first.device == second.device
        assert "ro" in second.options

    in_mount_sandbox(body)


def test_open_tree_clones_a_subtree_which_is_a_bind_mount_in_the_hand(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        (layers / "other" / "file").write_text("token")
        before = mounts.mountinfo()
        tree = mounts.open_tree(layers / "other")
        assert mounts.mountinfo() == before
        assert fcntl.fcntl(tree, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert os.read(os.open("file", os.O_RDONLY, dir_fd=tree), 10) == b"token"
        mounts.move_mount(tree, layers / "target")
        assert (layers / "target" / "file").read_text() == "token"

    in_mount_sandbox(body)


def test_open_tree_takes_the_mounts_below_only_when_recursive(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        inner = layers / "other" / "inner"
        inner.mkdir()
        mounts.mount("below", inner, "tmpfs")
        (inner / "file").touch()
        clone = mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC
        for flags, names in ((clone, []), (clone | mounts.AT_RECURSIVE, ["file"])):
            tree = mounts.open_tree(layers / "other", flags)
            listing = os.open("inner", os.O_RDONLY, dir_fd=tree)
            assert os.listdir(listing) == names
            os.close(listing)
            os.close(tree)

    in_mount_sandbox(body)


def test_open_tree_and_move_mount_work_on_descriptors_with_empty_paths(
    in_mount_sandbox, layers: Path
) -> None:
    def body() -> None:
        source = os.open(layers / "other", os.O_PATH)
        target = os.open(layers / "target", os.O_PATH)
        flags = mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC | mounts.AT_EMPTY_PATH
        tree = mounts.open_tree("", flags, dir_fd=source)
        mounts.move_mount(tree, "", to_fd=target)
        assert len(at(layers / "target")) == 1
        with pytest.raises(FileNotFoundError):  # the twin: without AT_EMPTY_PATH
            mounts.open_tree("", dir_fd=source)

    in_mount_sandbox(body)


def test_move_mount_moves_an_attached_mount_and_names_the_target_when_it_cannot(
    in_mount_sandbox, layers: Path
) -> None:
    def body() -> None:
        mounts.mount(None, "/", None, OWN_TREE)  # a mount below a shared parent cannot be moved
        mounts.mount("moving", layers / "other", "tmpfs")
        mounts.move_mount(mounts.AT_FDCWD, layers / "target", from_path=layers / "other", flags=0)
        assert [mount.source for mount in at(layers / "target")] == ["moving"]
        assert at(layers / "other") == []
        tree = mounts.detached("tmpfs", [])
        with pytest.raises(FileNotFoundError, match="missing"):
            mounts.move_mount(tree, layers / "missing")

    in_mount_sandbox(body)


def test_move_mount_does_not_follow_a_link_at_the_target(in_mount_sandbox, layers: Path) -> None:
    (layers / "link").symlink_to(layers / "target")

    def body() -> None:
        tree = mounts.detached("tmpfs", [])
        with pytest.raises(OSError, match="link"):
            mounts.move_mount(tree, layers / "link")
        assert at(layers / "target") == []
        mounts.move_mount(
            tree, layers / "link", flags=mounts.MOVE_MOUNT_F_EMPTY_PATH | mounts.MOVE_MOUNT_T_SYMLINKS
        )
        assert len(at(layers / "target")) == 1

    in_mount_sandbox(body)


def test_an_unknown_file_system_type_is_enodev_and_named() -> None:
    with pytest.raises(OSError, match="nosuchfs") as caught:
        mounts.fsopen("nosuchfs")
    assert caught.value.errno == errno.ENODEV


def test_a_refused_option_carries_the_kernels_explanation() -> None:
    with pytest.raises(OSError, match="sizzle=64k") as caught:
        mounts.detached("tmpfs", [("sizzle", "64k")])
    assert caught.value.errno == errno.EINVAL
    assert any("sizzle" in note and note.startswith("error: ") for note in caught.value.__notes__)


def test_a_refused_file_system_carries_the_kernels_explanation() -> None:
    with pytest.raises(OSError, match="create") as caught:
        mounts.detached("ext4", [("source", "/no/such/disk")])
    # "Can't open blockdev" in 6.1, "Can't lookup blockdev" since 6.6.
    assert any(note.startswith("error: /no/such/disk: Can't ") for note in caught.value.__notes__)


def test_overlayfs_explains_a_refused_layer_in_the_kernel_log_only(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="create") as caught:
        mounts.detached("overlay", [("upperdir", str(tmp_path))])
    assert caught.value.__notes__ == ["the system call was fsconfig(2)"]  # 6.18: pr_err, not errorfc


def test_the_log_is_taken_out_once_and_is_empty_when_nothing_was_said() -> None:
    context = mounts.fsopen("tmpfs")
    try:
        assert mounts.fs_log(context) == []
        with pytest.raises(OSError, match="nonsense"):
            mounts.fsconfig_set_flag(context, "nonsense")
        assert mounts.fs_log(context) == []  # the messages went into the error
        assert fcntl.fcntl(context, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        os.close(context)


def test_the_log_of_what_is_no_context_is_an_error_and_not_empty(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            mounts.fs_log(directory)
    finally:
        os.close(directory)


def test_a_value_of_an_option_is_limited_to_255_bytes() -> None:
    context = mounts.fsopen("tmpfs")
    try:
        mounts.fsconfig_set_string(context, "source", "x" * 255)
        with pytest.raises(OSError, match="source=xxx"):
            mounts.fsconfig_set_string(context, "source", "x" * 256)
    finally:
        os.close(context)


def test_no_descriptor_leaks_from_a_failed_or_a_good_detached_mount() -> None:
    before = os.listdir("/proc/self/fd")
    os.close(mounts.detached("tmpfs", [("size", "4k")]))
    with pytest.raises(OSError, match="nonsense"):
        mounts.detached("tmpfs", [("nonsense", None)])
    assert os.listdir("/proc/self/fd") == before


def test_attributes_of_a_detached_mount_bite(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        attributes = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC
        tree = mounts.detached("tmpfs", [], attributes)
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("directory", dir_fd=tree)
        mounts.move_mount(tree, layers / "target")
        assert {"ro", "nosuid", "noexec"} <= set(at(layers / "target")[0].options)
        assert "nodev" not in at(layers / "target")[0].options

    in_mount_sandbox(body)


def test_mount_setattr_changes_one_mount_or_all_below_it(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        target, inner = layers / "target", layers / "target" / "inner"
        mounts.mount("outer", target, "tmpfs")
        inner.mkdir()
        mounts.mount("inner", inner, "tmpfs")
        mounts.mount_setattr(mounts.AT_FDCWD, target, set=mounts.MOUNT_ATTR_NOEXEC)
        assert "noexec" in at(target)[0].options
        assert "noexec" not in at(inner)[0].options
        mounts.mount_setattr(
            mounts.AT_FDCWD,
            target,
            set=mounts.MOUNT_ATTR_RDONLY,
            clear=mounts.MOUNT_ATTR_NOEXEC,
            recursive=True,
        )
        for mount in at(target) + at(inner):
            assert "ro" in mount.options
            assert "noexec" not in mount.options

    in_mount_sandbox(body)


def test_mount_setattr_sets_propagation_and_works_on_a_detached_tree(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        tree = mounts.detached("tmpfs", [])
        mounts.mount_setattr(
            tree,
            "",
            set=mounts.MOUNT_ATTR_NOATIME,
            clear=mounts.MOUNT_ATTR__ATIME,
            propagation=mounts.MS_SHARED,
        )
        mounts.move_mount(tree, layers / "target")
        mount = at(layers / "target")[0]
        assert mount.shared is not None
        assert "noatime" in mount.options
        mounts.mount_setattr(mounts.AT_FDCWD, layers / "target", propagation=mounts.MS_PRIVATE)
        assert at(layers / "target")[0].shared is None
        with pytest.raises(OSError, match="target"):  # one atime mode cannot be set over another
            mounts.mount_setattr(mounts.AT_FDCWD, layers / "target", set=mounts.MOUNT_ATTR_STRICTATIME)

    in_mount_sandbox(body)


def test_pivot_root_into_a_detached_tree_leaves_nothing_of_the_old_root(
    in_mount_sandbox, layers: Path
) -> None:
    def body() -> None:
        tree = overlay_on(layers / "stage")
        before = mounts.mountinfo()

        def inner() -> None:
            mounts.move_mount(tree, layers / "target")
            os.chdir(layers / "target")
            os.mkdir("proc")
            mounts.mount("proc", "proc", "proc")
            mounts.pivot_root(".", ".")
            mounts.umount(".", mounts.MNT_DETACH)
            os.chdir("/")
            assert sorted(os.listdir("/")) == ["absolute", "below", "proc"]
            assert [mount.target for mount in mounts.mountinfo()] == ["/", "/proc"]

        assert in_inner_namespace(inner) == 0
        assert mounts.mountinfo() == before

    in_mount_sandbox(body)


def test_pivot_root_to_a_place_that_is_no_mount_is_refused(in_mount_sandbox, layers: Path) -> None:
    def body() -> None:
        os.chdir(layers / "target")
        # On the root's own mount: EBUSY; below a shared mount: EINVAL.
        with pytest.raises(OSError, match=r"Invalid argument|busy") as caught:
            mounts.pivot_root(".", ".")
        assert "pivot_root(2)" in caught.value.__notes__[0]

    in_mount_sandbox(body)


def test_a_path_with_a_nul_byte_reaches_no_system_call(tmp_path: Path) -> None:
    for call in (
        lambda: mounts.umount(f"{tmp_path}\0x"),
        lambda: mounts.open_tree(f"{tmp_path}\0x"),
        lambda: mounts.mount("a", "/tmp", "tmpfs", 0, "size=1\0"),
    ):
        with pytest.raises(ValueError, match="null byte"):
            call()
