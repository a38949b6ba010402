"""Restart policies: whether an ended container starts again, and after how long.

A container that ends at once must not keep the machine busy, so the pause doubles from 100 ms to a minute,
and only a run of ten seconds makes it short again. What the user stopped stays stopped. Docker's `--restart`.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from minidock.engine import starting, times, waiting
from minidock.engine.containers import Container
from minidock.engine.model import RestartPolicy
from minidock.errors import Conflict, NotModified, StartFailed

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0
LONG_RUN = 10.0  # seconds after which a container counts as one that works


def is_wanted(policy: RestartPolicy, exit_code: int, count: int, stopped_by_user: bool) -> bool:
    """Return whether a container that ended with `exit_code` after `count` restarts is to start again."""
    if policy.name == "always" or (policy.name == "unless-stopped" and not stopped_by_user):
        return True
    limit = policy.maximum_retry_count
    return policy.name == "on-failure" and exit_code != 0 and (limit == 0 or count < limit)


def next_pause(pause: float, ran: float) -> float:
    """Return the seconds to wait before the next start: `pause` was the last, `ran` how long it ran since."""
    if ran >= LONG_RUN or pause == 0:
        return FIRST_PAUSE
    return min(2 * pause, LONGEST_PAUSE)


class Restarter:
    """Starts again what shall start again, each container on a thread of its own when its pause is over."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._timers: dict[str, threading.Timer] = {}
        self._ready = threading.Event()
        self._is_closed = False

    def decide(self, container: Container, exit_code: int) -> bool:
        """Return whether this end of a run is followed by another start; called with the lock held."""
        state, policy = container.state, container.record.host_config.restart_policy
        if self._is_closed or state.stopped_by_user or container.is_kept:
            return False
        return is_wanted(policy, exit_code, state.restart_count, stopped_by_user=False)

    def schedule(self, container: Container) -> None:
        """Start the container again after its pause; its status is `restarting`, its times are set."""
        state = container.state
        ran = (times.to_ns(state.finished_at) - times.to_ns(state.started_at)) / 1e9
        container.restart_pause = next_pause(container.restart_pause, ran)
        self._after(container, container.restart_pause)

    def resume(self) -> None:
        """The engine has started: start what policy says should run, and what was in its pause."""
        for container in list(self._engine.containers.values()):
            with container.lock:
                state = container.state
                if container.is_running or not state.has_been_started:
                    continue
                wanted = is_wanted(
                    container.record.host_config.restart_policy,
                    state.exit_code,
                    state.restart_count,
                    state.stopped_by_user,
                )
                if wanted:
                    container.change(status="restarting")
                    self._after(container, 0)
                elif state.status == "restarting":
                    container.change(status="exited")
        self._ready.set()

    def close(self) -> None:
        """Start nothing any more; containers in their pause are found again by the next engine."""
        with self._lock:
            self._is_closed = True
            timers, self._timers = list(self._timers.values()), {}
        self._ready.set()
        for timer in timers:
            timer.cancel()
        for timer in timers:
            timer.join()

    def _after(self, container: Container, pause: float) -> None:
        timer = threading.Timer(pause, self._again, (container,))
        timer.daemon = True
        with self._lock:
            if not self._is_closed:
                self._timers[container.id] = timer
                timer.start()

    def _again(self, container: Container) -> None:
        self._ready.wait()
        with self._lock:
            if self._is_closed:
                return
        try:
            starting.start(self._engine, container, container.id, verb="again")
        except (Conflict, NotModified):
            return  # somebody stopped, started or removed it meanwhile
        except StartFailed as error:
            log.warning("container %s is not started again: %s", container.id, error)
            give_up(container)
        finally:
            with self._lock:
                if self._timers.get(container.id) is threading.current_thread():
                    del self._timers[container.id]


def give_up(container: Container) -> None:
    """A container in its pause is not to start again."""
    with container.lock:
        if container.status == "restarting":
            container.change(status="exited")
    waiting.announce(container)
