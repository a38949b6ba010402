"""An image above another costs what it adds, not what it stands on."""

import io
import os
from collections.abc import Callable
from pathlib import Path

from minidock.formats.image import ExecutionConfig
from minidock.storage.committing import Step, commit
from minidock.storage.images import ImageStore
from minidock.storage.load import import_root

STEP = Step(ExecutionConfig(), "2014-05-08T15:30:00Z")


def transferred() -> tuple[int, int]:
    """Return the bytes that this process has read and written by system calls."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


def test_a_small_change_of_a_great_image_costs_what_the_change_is(
    store: ImageStore, tar: Callable[..., bytes], member: Callable[..., object]
) -> None:
    base = import_root(store, io.BytesIO(tar([member("big", os.urandom(16 << 20))])), "big")
    change = tar([member("small", b"x" * 1000)])
    before = transferred()
    image = commit(store, base.id, io.BytesIO(change), STEP)
    read, written = (after - then for after, then in zip(transferred(), before, strict=True))
    assert image.chain_ids[:-1] == base.chain_ids
    assert (
        len(change) <= read < 128 << 10
    )  # the change, the parent's documents, and what Python reads besides
    assert len(change) <= written < 128 << 10
