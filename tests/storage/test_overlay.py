"""Both routes to a detached overlay mount, on the real kernel."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.errors import MinidockError
from minidock.kernel.mounts import mountinfo
from minidock.storage.overlay import Stack, mount_by_fsconfig, mount_in_thread, mount_overlay

Mount = Callable[[Stack], int]
NEEDS_LOWERDIR_PLUS = (6, 8)
RELEASE = tuple(int(part) for part in os.uname().release.split(".")[:2])
has_lowerdir_plus = RELEASE >= NEEDS_LOWERDIR_PLUS
ROUTES = pytest.mark.parametrize(
    "mount", [*([mount_by_fsconfig] if has_lowerdir_plus else []), mount_in_thread, mount_overlay]
)


@contextmanager
def mounted(mount: Mount, stack: Stack) -> Iterator[int]:
    """An ordinary descriptor of the root of the mount, which lives as long as the block."""
    detached = mount(stack)
    try:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=detached)
        try:
            yield root
        finally:
            os.close(root)
    finally:
        os.close(detached)


def read(root: int, name: str) -> str:
    with open(os.open(name, os.O_RDONLY, dir_fd=root)) as file:
        return file.read()


def write(root: int, name: str, text: str) -> None:
    with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=root), "w") as file:
        file.write(text)


@pytest.fixture
def layers(tmp_path: Path) -> Callable[..., Stack]:
    """Make a stack of `count` layers; each has a file of its own and a say in the file `top`."""

    def make(count: int, writable: bool = True, volatile: bool = False, base: Path = tmp_path) -> Stack:
        names = [f"layer{number:021d}" for number in range(count)]  # 26 letters, as in the store
        for number, name in enumerate(names):
            (base / name).mkdir(parents=True)
            (base / name / f"own{number}").write_text(str(number))
            (base / name / "top").write_text(str(number))
        upper, work = base / "upper", base / "work"
        if writable:
            upper.mkdir()
            work.mkdir()
        lowers = names[::-1]
        return Stack(
            str(base), lowers, str(upper) if writable else None, str(work) if writable else None, volatile
        )

    return make


@ROUTES
@pytest.mark.parametrize("count", [1, 2, 128])
def test_layers_are_stacked_with_the_topmost_winning(
    mount: Mount, count: int, layers: Callable[..., Stack]
) -> None:
    stack = layers(count)
    with mounted(mount, stack) as root:
        assert read(root, "top") == str(count - 1)
        assert sorted(os.listdir(root)) == sorted(["top", *(f"own{number}" for number in range(count))])
        write(root, "top", "mine")
        os.unlink("own0", dir_fd=root)
        assert stack.upper is not None
    assert Path(stack.upper, "top").read_text() == "mine"
    assert os.lstat(Path(stack.upper, "own0")).st_rdev == 0
    assert (Path(stack.base) / stack.lowers[-1] / "own0").exists()


@ROUTES
def test_a_detached_mount_is_in_nobodys_mountinfo(
    mount: Mount, layers: Callable[..., Stack], tmp_path: Path
) -> None:
    with mounted(mount, layers(2)) as root:
        lines = [f"{line.target} {line.super_options}" for line in mountinfo()]
        assert not [line for line in lines if str(tmp_path) in line]
        assert os.fstat(root).st_dev != os.stat(tmp_path).st_dev


@ROUTES
def test_without_an_upper_directory_nothing_can_be_written(
    mount: Mount, layers: Callable[..., Stack]
) -> None:
    with mounted(mount, layers(3, writable=False)) as root:
        assert read(root, "top") == "2"
        with pytest.raises(OSError, match="Read-only"):
            write(root, "new", "x")


@ROUTES
def test_a_volatile_mount_can_be_mounted_again(mount: Mount, layers: Callable[..., Stack]) -> None:
    stack = layers(2, volatile=True)
    with mounted(mount, stack) as root:
        write(root, "a", "1")
        mark = Path(str(stack.work), "work", "incompat", "volatile")
        assert mark.exists()
    # The twin: without forgetting it, the kernel refuses.
    with pytest.raises(OSError, match=r"File exists|Invalid argument|Stale"):
        os.close(mount(stack) if mount is not mount_overlay else mount_in_thread(stack))
    with mounted(mount_overlay, stack) as root:
        assert read(root, "a") == "1"


@ROUTES
def test_long_paths_fit_through_descriptors(
    mount: Mount, layers: Callable[..., Stack], tmp_path: Path
) -> None:
    base = tmp_path / ("long" * 30) / ("path" * 30)
    base.mkdir(parents=True)
    with mounted(mount, layers(128, base=base)) as root:
        assert read(root, "top") == "127"
        write(root, "top", "mine")
    assert (base / "upper" / "top").read_text() == "mine"


@ROUTES
def test_odd_letters_in_paths_mean_nothing(
    mount: Mount, layers: Callable[..., Stack], tmp_path: Path
) -> None:
    base = tmp_path / "a:b,c\\d e"
    base.mkdir()
    with mounted(mount, layers(2, base=base)) as root:
        write(root, "new", "x")
    assert (base / "upper" / "new").read_text() == "x"


@ROUTES
def test_a_mount_outlives_the_thread_and_takes_no_thread_with_it(
    mount: Mount, layers: Callable[..., Stack]
) -> None:
    before = (os.getcwd(), os.readlink("/proc/thread-self/ns/mnt"), threading.active_count())
    with mounted(mount, layers(1)):
        assert (os.getcwd(), os.readlink("/proc/thread-self/ns/mnt"), threading.active_count()) == before


def test_a_kernel_takes_layers_one_by_one_or_says_einval(layers: Callable[..., Stack]) -> None:
    if has_lowerdir_plus:
        os.close(mount_by_fsconfig(layers(2)))
        return
    with pytest.raises(OSError, match=r"lowerdir\+|create") as caught:
        mount_by_fsconfig(layers(2))
    assert caught.value.errno == errno.EINVAL


def test_a_missing_layer_is_an_error_with_the_kernels_reason(layers: Callable[..., Stack]) -> None:
    stack = layers(2)
    with pytest.raises(MinidockError, match="cannot mount overlay") as caught:
        mount_overlay(Stack(stack.base, ["none", *stack.lowers], stack.upper, stack.work))
    assert caught.value.__notes__
    with pytest.raises(MinidockError, match="takes 1 to"):
        mount_overlay(Stack(stack.base, []))
