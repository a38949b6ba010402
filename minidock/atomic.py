"""Files that are either old or new, never half: temporary file, rename, and fsync where the content must
survive.

Two kinds of promise (design.md section 4): *durable* records survive a power cut; *run state* survives the
death of the daemon only, since after a power cut it would be false anyway. rename(2), fsync(2).
"""

import contextlib
import json
import os
from typing import Any


def write_durable(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data` so that after any crash the old or the new content is there."""
    _replace(path, data, mode, durable=True)


def write_state(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data` in one step, without waiting for the disk."""
    _replace(path, data, mode, durable=False)


def to_json(value: Any) -> bytes:
    """Encode `value` as indented, newline-terminated JSON: these files are read by people."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def sync_directory(path: str) -> None:
    """Make the names in directory `path` durable (fsync(2): a rename is only safe after its directory is)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: str, data: bytes, mode: int, durable: bool) -> None:
    directory = os.path.dirname(path) or "."
    temporary = os.path.join(directory, f".tmp-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory)
