"""attach: a client's socket goes to the shim, at once or at the start.

`docker run` attaches before it starts, so that no byte is lost: until then the socket is parked, unread. The
daemon leaves the data path; from then on shim and client talk alone. engine-api.md, "The flows"; unix(7),
SCM_RIGHTS.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from minidock.engine.containers import find
from minidock.errors import Conflict
from minidock.runtime.requests import AttachClient

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

MAXIMUM_PARKED = 64  # descriptors that unstarted containers may hold, each


def check_attachable(engine: Engine, reference: str) -> bool:
    """Return whether the container has a terminal, which decides the content type; Conflict when paused."""
    container = find(engine, reference)
    if container.status == "paused":
        raise Conflict(f"container {reference} is paused, unpause the container before attach")
    if len(container.parked) >= MAXIMUM_PARKED:
        raise Conflict(f"container {reference} has too many clients waiting for its start")
    return container.tty


def attach(engine: Engine, reference: str, client: AttachClient) -> None:
    """Take over `client.descriptor` (hand in a duplicate): to the shim, or parked until the start.

    The descriptor is closed in every case, also when this raises. Conflict when the container is gone
    meanwhile.
    """
    taken = False
    try:
        container = find(engine, reference)
        if not container.record.config.open_stdin:
            client = replace(client, stdin=False)
        with container.lock:
            shim = container.shim
            if shim is None:
                if container.status in ("removing", "gone"):
                    raise Conflict(f"container {container.id} is marked for removal")
                container.parked.append(client)
                taken = True
            else:
                shim.attach(client)
    finally:
        if not taken:
            os.close(client.descriptor)
    engine.events.publish("container", "attach", container.id, container.attributes())
