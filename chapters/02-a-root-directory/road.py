"""Chapter 2's way into the root: what minidock does on an initramfs, where pivot_root(2) is impossible."""

from minidock.runtime import root


def enter(path: str) -> None:
    """Enter the root at `path` by chroot."""
    root.enter_without_pivot(path)
