"""The init layer: what every container's tree must hold whatever its image says, as one read-only layer above
the image.

Mount points for /dev, /proc and /sys as real directories (an image may have symlinks there), and places for
the files that are mounted over /etc. It is a layer of its own so that a container's changes, and so `docker
diff`, do not show it; Docker has one of the same name and content. The same directory serves all containers
of an engine.
"""

import os

NAME = "init-layer"
_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
_LINKS = {"etc/mtab": "/proc/mounts"}


def ensure(data_root: str) -> str:
    """Make the layer below `data_root` unless it is there; return its directory. Safe to repeat after a
    crash.
    """
    top = os.path.join(data_root, NAME)
    for directory in ("", *_DIRECTORIES):
        path = os.path.join(top, directory)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)  # the umask of the daemon must not show in a container
    for name in _FILES:
        path = os.path.join(top, name)
        with open(path, "ab") as file:
            os.fchmod(file.fileno(), 0o755)
    for name, target in _LINKS.items():
        path = os.path.join(top, name)
        if not os.path.islink(path):
            os.symlink(target, path)
    return top
