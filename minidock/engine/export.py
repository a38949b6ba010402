"""A container's tree as one tar: `docker export`, without the volumes and the file systems that only a
running one has.

A running container's root is cloned alone, so that what is mounted over it (its /proc, its volumes,
/etc/hosts) is neither in the tar nor in the way. A stopped one's layers are mounted read-only, the
container's own among them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minidock.engine import mounts_sources, supervision
from minidock.engine.containers import Container, find
from minidock.storage.packing import pack

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


@contextmanager
def export(engine: Engine, reference: str) -> Iterator[Iterator[bytes]]:
    """Give the pieces of the tar; the container cannot be started meanwhile."""
    container = find(engine, reference)
    with container.tree.shared():
        root = open_alone(engine, container)
        try:
            yield pack(root, ".", "")
        finally:
            os.close(root)
    engine.events.publish("container", "export", container.id, container.attributes())


def open_alone(engine: Engine, container: Container) -> int:
    """Return the root of the container's tree without anything mounted in it, a detached mount; hold the
    tree lease.

    The mount of a running container is its own; that of a stopped one is read-only.
    """
    if container.is_running:
        return mounts_sources.clone_inside(container, "/")
    supervision.await_former_shim(engine, container)
    own = os.path.join(container.directory, "rw", "diff")
    return engine.layers.overlay(container.record.layers, above=(own, engine.init_layer))
