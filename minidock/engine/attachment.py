"""attach: a client's socket goes to the shim, at once or at the start.

`docker run` attaches before it starts, so that no byte is lost: until then the socket is parked, unread. The
daemon leaves the data path; from then on shim and client talk alone. engine-api.md, "The flows"; unix(7),
SCM_RIGHTS.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from minidock.engine.containers import find
from minidock.engine.logs import Log
from minidock.errors import Conflict
from minidock.runtime.logs import Record
from minidock.runtime.requests import AttachClient

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

MAXIMUM_PARKED = 64  # descriptors that unstarted containers may hold, each


def check_attachable(engine: Engine, reference: str) -> bool:
    """Return whether the container has a terminal, which decides the content type; Conflict when paused."""
    container = find(engine, reference)
    if container.status == "paused":
        raise Conflict(f"container {reference} is paused, unpause the container before attach")
    if container.status == "restarting":
        raise Conflict(f"container {reference} is restarting, wait until the container is running")
    if len(container.parked) >= MAXIMUM_PARKED:
        raise Conflict(f"container {reference} has too many clients waiting for its start")
    return container.tty


def attach_after_log(
    engine: Engine,
    reference: str,
    client: AttachClient,
    opened: Log,
    send: Callable[[Iterable[Record]], None],
) -> None:
    """Send the log, and take the client over so that its stream goes on exactly where the log ended.

    The shim holds the stream back while the log is sent, and the program until its files are open: they may
    be rotated away. A client that has been answered can start the container and see it end before this, so
    there may be a run of which only the log is left. As in `attach`, the descriptor is closed in every case.
    """
    container = opened.container
    with contextlib.ExitStack() as stack:
        if container.shim is None:
            send(opened.read())
        with container.lock:
            if container.shim is None and container.state.started_at == opened.run:
                attach(engine, reference, client)  # nothing more is logged before the start
                return
            stack.callback(os.close, client.descriptor)
            position, go_on = None, None
            with contextlib.suppress(Conflict):
                if container.shim is not None:
                    position, go_on = stack.enter_context(container.shim.attached_after_log(client))
        opened.reopen()
        if go_on is None:
            send(opened.read())
        else:
            go_on()
        if position is not None:
            send(opened.read_until(position))
    engine.events.publish("container", "attach", container.id, container.attributes())


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
