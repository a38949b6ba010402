"""What happens in the engine, told to whoever listens, and remembered for a while.

A listener may be slow or stuck, and the engine must not wait for it: each has a bounded queue and is dropped
when it overflows. API threads wait in poll(2) on their client and on the subscription's eventfd. eventfd(2);
Docker's /events.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from minidock.engine.views import Actor, Event
from minidock.errors import InvalidParameter

REMEMBERED = 256  # as Docker: what `--since` can still show
QUEUE_LENGTH = 4096  # events a listener may be behind

_FILTERS = frozenset(
    [
        "type",
        "event",
        "container",
        "image",
        "label",
        "volume",
        "network",
        "daemon",
        "scope",
        "plugin",
        "service",
        "node",
        "secret",
        "config",
    ]
)

Filters = Mapping[str, Sequence[str]]


class Subscription:
    """One listener. Poll `fileno()`, then `take()`; `overflowed` means that it was too slow and gets nothing
    more.
    """

    def __init__(self, bus: "Bus", filters: Filters, until_ns: int | None) -> None:
        self.overflowed = False
        self.closed = False
        self._bus = bus
        self._filters = filters
        self._until_ns = until_ns
        self._queue: deque[Event] = deque()
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the eventfd that is readable while events wait."""
        return self._eventfd

    def take(self) -> list[Event]:
        """Return the events since the last call, oldest first; never waits."""
        with self._bus.lock:
            if not self.closed:
                try:
                    os.eventfd_read(self._eventfd)
                except BlockingIOError:
                    pass
            events = list(self._queue)
            self._queue.clear()
        return events

    def close(self) -> None:
        """Stop listening. May be called twice."""
        with self._bus.lock:
            if not self.closed:
                self.closed = True
                self._bus.listeners.discard(self)
                os.close(self._eventfd)

    def offer(self, event: Event) -> None:
        """Queue `event` if it is wanted. The bus calls this with its lock held."""
        if self._until_ns is not None and event.time_nano > self._until_ns:
            return
        if self.overflowed or not matches(event, self._filters):
            return
        if len(self._queue) >= QUEUE_LENGTH:
            self.overflowed = True
        else:
            self._queue.append(event)
        os.eventfd_write(self._eventfd, 1)


class Bus:
    """All events of one engine. Safe to use from any thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.listeners: set[Subscription] = set()
        self._history: deque[Event] = deque(maxlen=REMEMBERED)

    def publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        """Tell everyone that `action` happened to the `kind` (container, image, ...) with this id."""
        with self.lock:
            now = time.time_ns()
            actor = Actor(id=identifier, attributes=dict(attributes))
            event = Event(
                type=kind, action=action, actor=actor, scope="local", time=now // 1_000_000_000, time_nano=now
            )
            self._history.append(event)
            for listener in self.listeners:
                listener.offer(event)

    def subscribe(
        self, since_ns: int | None = None, until_ns: int | None = None, filters: Filters | None = None
    ) -> Subscription:
        """Listen: first to what is remembered since `since_ns`, then to what comes, up to `until_ns`.

        InvalidParameter names an unknown filter. The caller closes the subscription.
        """
        check_filters(filters or {})
        subscription = Subscription(self, filters or {}, until_ns)
        with self.lock:
            if since_ns is not None:
                for event in self._history:
                    if event.time_nano >= since_ns:
                        subscription.offer(event)
            self.listeners.add(subscription)
        return subscription


def check_filters(filters: Filters) -> None:
    """Raise InvalidParameter for a filter that events do not know."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{name}'")


def matches(event: Event, filters: Filters) -> bool:
    """Return whether `event` passes: one value of each given filter must fit, and all values of `label`."""
    return all(_passes(event, name, values) for name, values in filters.items() if values)


def _passes(event: Event, name: str, values: Sequence[str]) -> bool:
    attributes = event.actor.attributes
    if name == "type":
        return event.type in values
    if name == "scope":
        return event.scope in values
    if name == "event":
        return any(event.action == value or event.action.startswith(value + ":") for value in values)
    if name == "label":
        return all(has_label(attributes, value) for value in values)
    if name == "image":
        return _names_image(event, values)
    if name != event.type:
        return False
    names = (event.actor.id, attributes.get("name", ""))
    return any(one.startswith(value) for value in values for one in names)


def _names_image(event: Event, values: Iterable[str]) -> bool:
    names = {event.actor.attributes.get("image", "")}
    if event.type == "image":
        names |= {event.actor.id, event.actor.attributes.get("name", "")}
    elif event.type != "container":
        return False
    return any(value in names or value in {_without_tag(name) for name in names} for value in values)


def _without_tag(name: str) -> str:
    head, separator, tail = name.rpartition(":")
    return head if separator and "/" not in tail else name


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Return whether `labels` has `key` or `key=value`."""
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)
