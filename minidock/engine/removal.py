"""Taking a container away: out of every table in one step, and its files afterwards.

The directory is renamed first, so a crash at any later point leaves nothing that looks like a container; the
rest can be swept after the answer, or at the next start.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from minidock.engine import records, volumes, waiting
from minidock.engine.containers import Container
from minidock.engine.transitions import following

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)


def discard(engine: Engine, container: Container, with_volumes: bool = False) -> None:
    """Remove a container that does not run. Does nothing when it is gone already.

    Its anonymous volumes go too `with_volumes`, and always with `--rm`, unless another container names them.

    OSError when its directory cannot be moved: it stays, as `dead`, and can be removed again.
    """
    with container.lock:
        status = following(container.status, "remove")
        if status is None:
            return
        container.state = msgspec.structs.replace(container.state, status=status)
        container.close_parked()
        try:
            hidden: str | None = records.set_aside(engine.paths, container.id)
        except FileNotFoundError:
            hidden = None  # somebody was faster, with rm -r
        except OSError:
            container.state = msgspec.structs.replace(
                container.state, status=following(status, "fail") or "dead"
            )
            raise
        with engine.lock:
            engine.containers.pop(container.id, None)
        engine.names.release(container.name, container.id)
        container.state = msgspec.structs.replace(container.state, status="gone")
    engine.execs.forget(container)
    if with_volumes or container.record.host_config.auto_remove:
        anonymous = [point.name for point in container.record.mounts if point.anonymous]
        volumes.remove_anonymous(engine, anonymous)
    engine.events.publish("container", "destroy", container.id, container.attributes())
    waiting.announce(container, removed=True)
    engine.images.release(container.record.image, container.record.layers, engine.layers_in_use())
    if hidden is not None:
        engine.sweeper.remove(hidden)
