"""Health checks: a command run in the container again and again, and what its results say about it.

The check is an exec like any other, so it has the container's rights and no more, and it never keeps anything
alive: a run of it that takes too long is killed. One thread for each container that has a check. Docker
Engine API, HealthConfig and Health.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from minidock import ids
from minidock.engine import execs, times
from minidock.engine.containers import Container
from minidock.engine.model import Healthcheck
from minidock.engine.views import HealthResult, HealthState
from minidock.errors import MinidockError
from minidock.kernel import process
from minidock.runtime.requests import AttachClient

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

log = logging.getLogger(__name__)
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
INTERVAL, TIMEOUT, START_INTERVAL = 30.0, 30.0, 5.0  # seconds: Docker's defaults
RETRIES = 3
KEPT_RESULTS = 5
OUTPUT_LIMIT = 4096  # bytes
TIMED_OUT = -1
DEFAULT_SHELL = ["/bin/sh", "-c"]


def command(container: Container) -> list[str] | None:
    """Return what the check runs; None when the container has no check."""
    config = container.record.config
    test = config.healthcheck.test if config.healthcheck else None
    if not test or test[0] == "NONE":
        return None
    if test[0] == "CMD":
        return test[1:]
    if test[0] == "CMD-SHELL":
        return [*(config.shell or DEFAULT_SHELL), *test[1:]]
    log.warning("container %s: unknown type of health check %r (expected CMD)", container.id, test[0])
    return None


def watch(engine: Engine, container: Container) -> None:
    """Check the container's health from now on, if it has a check. Called when a run begins, with the lock
    held.
    """
    wanted = command(container)
    container.health = None
    if wanted:
        assert container.record.config.healthcheck is not None
        container.health = Monitor(engine, container, wanted, container.record.config.healthcheck)
        container.health.start()


class Monitor:
    """The health of one run. `state` is replaced whole, so it may be read at any time."""

    def __init__(self, engine: Engine, container: Container, wanted: list[str], check: Healthcheck) -> None:
        self.state = HealthState(status=STARTING, failing_streak=0, log=[])
        self._engine = engine
        self._container = container
        self._command = wanted
        self._interval = check.interval / 1e9 or INTERVAL
        self._timeout = check.timeout / 1e9 or TIMEOUT
        self._start_period = check.start_period / 1e9
        self._start_interval = check.start_interval / 1e9 or START_INTERVAL
        self._retries = check.retries or RETRIES
        self._began = time.monotonic()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; the first check runs after one interval."""
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def stop(self) -> None:
        """End after the check that is running, whose result does not count any more."""
        self._stop.set()

    def record(self, result: HealthResult) -> None:
        """Draw the conclusions from one result, and tell everyone when they are new."""
        before = self.state
        status, streak = self._judge(before, result.exit_code)
        kept = [*before.log, result][-KEPT_RESULTS:]
        self.state = HealthState(status=status, failing_streak=streak, log=kept)
        if status != before.status:
            container = self._container
            self._engine.events.publish(
                "container", f"health_status: {status}", container.id, container.attributes()
            )

    def _judge(self, before: HealthState, exit_code: int) -> tuple[str, int]:
        if exit_code == 0:
            return HEALTHY, 0
        if before.status == STARTING and self._is_starting():
            return STARTING, before.failing_streak  # a failure while it starts up counts for nothing
        streak = before.failing_streak + 1
        return UNHEALTHY if streak >= self._retries else before.status, streak

    def _is_starting(self) -> bool:
        return time.monotonic() - self._began < self._start_period

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            if self._container.status != "running":
                continue
            try:
                result = self._check()
            except Exception:
                log.exception("a health check of container %s failed", self._container.id)
                continue
            if not self._stop.is_set():
                self.record(result)

    def _pause(self) -> float:
        if self.state.status == STARTING and self._is_starting():
            return min(self._start_interval, self._interval)
        return self._interval

    def _check(self) -> HealthResult:
        """Run the check once and return its result; one that cannot be run has failed."""
        began = times.now()
        config = execs.ExecConfig(cmd=self._command, attach_stdout=True, attach_stderr=True)
        one = execs.prepare(self._engine, self._container, ids.random_id(), config)
        one.is_claimed = True
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                client = AttachClient(theirs.fileno(), stdout=True, stderr=True)
                execs.start(self._engine, one, client)
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_WR)
            output, is_over = _read(ours, self._timeout)
        except MinidockError as error:
            code = one.exit_code if one.exit_code is not None else execs.NOT_STARTED
            return HealthResult(start=began, end=times.now(), exit_code=code, output=str(error))
        finally:
            ours.close()
        if is_over and one.ended.wait(execs.PATIENCE) and one.exit_code is not None:
            return HealthResult(start=began, end=times.now(), exit_code=one.exit_code, output=output)
        _kill(one)
        words = f"Health check exceeded timeout ({times.go_duration(self._timeout)})"
        output = f"{words}: {output}" if output else words
        return HealthResult(start=began, end=times.now(), exit_code=TIMED_OUT, output=output)


def _read(channel: socket.socket, timeout: float) -> tuple[str, bool]:
    """Return the beginning of the output, and whether its end came in time."""
    kept, deadline = bytearray(), time.monotonic() + timeout
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    is_cut = False
    while (left := deadline - time.monotonic()) > 0:
        if not poller.poll(left * 1000):
            break
        data = channel.recv(64 * 1024)
        if not data:
            return _text(kept, is_cut), True
        room = OUTPUT_LIMIT - len(kept)
        is_cut = is_cut or len(data) > room
        kept += data[:room]
    return _text(kept, is_cut), False


def _text(data: bytearray, is_cut: bool) -> str:
    return data.decode("utf-8", "replace") + ("..." if is_cut else "")


def _kill(one: execs.Exec) -> None:
    """Kill the program of a check that takes too long."""
    with contextlib.suppress(OSError):
        if process.start_time(one.pid) == one.start_time:  # the number may be another process's by now
            os.kill(one.pid, signal.SIGKILL)
