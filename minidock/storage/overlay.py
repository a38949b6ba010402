"""Stack directories into a detached overlay mount, on kernels that take layers one by one and on those that
do not.

`lowerdir+` (Linux 6.8) gives each layer in an fsconfig(2) call of its own, each value at most 255 bytes.
Before that all options share the one page of mount(2), and 128 absolute paths do not fit: so a thread goes
to the layers' directory in a mount namespace of its own, mounts there by relative names, takes the mount out
with open_tree(2) and ends; the descriptor outlives it. Too long a page shows as a misleading ENOENT, so the
length is checked here. Which route works is found by trying. Linux Documentation/filesystems/overlayfs.rst;
open_tree(2); Debian 12 has 6.1.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from minidock.errors import MinidockError
from minidock.kernel.mounts import (
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    detached,
    mount,
    open_tree,
)
from minidock.kernel.namespaces import CLONE_FS, CLONE_NEWNS, unshare
from minidock.storage.trees import remove_tree

VALUE_LENGTH_MAX = 255
PAGE_SIZE = 4096
LOWER_LAYERS_MAX = 500  # OVL_MAX_STACK

# Explicit, for a distribution may build in other defaults: we read upper directories ourselves, as files.
OPTIONS = (("index", "off"), ("metacopy", "off"), ("redirect_dir", "off"))


@dataclass(frozen=True)
class Stack:
    """What to mount: `lowers` are names relative to `base`, topmost first, at least two unless there is
    an `upper`."""

    base: str
    lowers: Sequence[str]
    upper: str | None = None
    work: str | None = None
    volatile: bool = False

    @property
    def is_writable(self) -> bool:
        return self.upper is not None


def mount_overlay(stack: Stack) -> int:
    """Return a descriptor of the detached mount of a stack, by whichever route this kernel has.

    Raises MinidockError, with the kernel's own messages as notes.
    """
    if not 0 < len(stack.lowers) <= LOWER_LAYERS_MAX:
        raise MinidockError(
            f"cannot mount {len(stack.lowers)} layers: overlayfs takes 1 to {LOWER_LAYERS_MAX}"
        )
    if stack.work is not None:
        forget_volatile(stack.work)
    try:
        try:
            return mount_by_fsconfig(stack)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return mount_in_thread(stack)
    except OSError as error:
        failure = MinidockError(f"cannot mount overlay: {error.strerror}")
        for note in getattr(error, "__notes__", []):
            failure.add_note(note)
        raise failure from error


def mount_by_fsconfig(stack: Stack) -> int:
    """Mount with one `lowerdir+` for each layer; OSError(EINVAL) on a kernel without it."""
    with ExitStack() as opened:
        options: list[tuple[str, str | None]] = [("source", "overlay")]
        base = _nameable(stack.base, VALUE_LENGTH_MAX - 1 - max(map(len, stack.lowers)), opened)
        options += [("lowerdir+", f"{base}/{lower}") for lower in stack.lowers]
        if stack.upper is not None and stack.work is not None:
            options.append(("upperdir", _nameable(stack.upper, VALUE_LENGTH_MAX, opened)))
            options.append(("workdir", _nameable(stack.work, VALUE_LENGTH_MAX, opened)))
        options += OPTIONS
        if stack.volatile and stack.is_writable:
            options.append(("volatile", None))
        return detached("overlay", options, 0 if stack.is_writable else MOUNT_ATTR_RDONLY)


def mount_in_thread(stack: Stack) -> int:
    """Mount with mount(2) in a thread that has a mount namespace and a working directory of its own."""
    with ThreadPoolExecutor(1, "overlay-mount") as thread:
        return thread.submit(_mount_here, stack).result()


def forget_volatile(work: str) -> None:
    """Let a directory be mounted again that was mounted `volatile`; the caller knows that its data did
    not go through a crash."""
    remove_tree(os.path.join(work, "work", "incompat", "volatile"))


def _mount_here(stack: Stack) -> int:
    """Mount in a mount namespace of this thread alone, on the layers' directory itself: nobody else can
    see it."""
    unshare(CLONE_NEWNS | CLONE_FS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    os.chdir(stack.base)
    with _page(stack) as data:
        mount("overlay", stack.base, "overlay", 0 if stack.is_writable else MS_RDONLY, data)
    return open_tree(stack.base)


@contextmanager
def _page(stack: Stack) -> Iterator[str]:
    with ExitStack() as opened:
        fixed = [f"{key}={value}" for key, value in OPTIONS] + (
            ["volatile"] if stack.volatile and stack.is_writable else []
        )
        lowers = "lowerdir=" + ":".join(stack.lowers)
        room = PAGE_SIZE - 1 - len(lowers) - sum(len(option) + 1 for option in fixed)
        if stack.upper is not None and stack.work is not None:
            each = (room - len(",upperdir=,workdir=")) // 2
            upper, work = (_nameable(path, each, opened) for path in (stack.upper, stack.work))
            fixed = [f"upperdir={upper}", f"workdir={work}", *fixed]
        data = ",".join([lowers, *fixed])
        if len(os.fsencode(data)) >= PAGE_SIZE:
            raise OSError(
                errno.E2BIG, f"{len(stack.lowers)} layers do not fit into one page of mount options"
            )
        yield data


def _nameable(path: str, limit: int, opened: ExitStack) -> str:
    """Return `path`, or a name of the same directory through /proc if the kernel's options cannot hold it.

    Kernels disagree on how `:`, `,` and a backslash are quoted in which option; a descriptor needs no quotes.
    """
    if len(os.fsencode(path)) <= limit and not any(letter in path for letter in ":,\\"):
        return path
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, fd)
    return f"/proc/thread-self/fd/{fd}"
