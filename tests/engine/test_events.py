"""The event bus: filters, history, and readers that are too slow."""

import select
import threading

import pytest

from minidock.engine import events
from minidock.errors import InvalidParameter

ATTRIBUTES = {"image": "busybox:latest", "name": "web", "tier": "front"}


def test_an_event_reaches_a_listener_and_makes_it_readable() -> None:
    bus = events.Bus()
    with bus.subscribe() as listener:
        assert not select.select([listener], [], [], 0)[0]
        bus.publish("container", "start", "1" * 64, ATTRIBUTES)
        assert select.select([listener], [], [], 0)[0]
        (event,) = listener.take()
        assert (event.type, event.action, event.actor.id) == ("container", "start", "1" * 64)
        assert event.time == event.time_nano // 10**9
        assert not select.select([listener], [], [], 0)[0]


def test_what_is_remembered_comes_first_and_nothing_after_until() -> None:
    bus = events.Bus()
    bus.publish("container", "create", "1", {})
    with bus.subscribe(since_ns=0) as listener:
        bus.publish("container", "start", "1", {})
        assert [event.action for event in listener.take()] == ["create", "start"]
    with bus.subscribe(since_ns=0, until_ns=1) as listener:
        assert listener.take() == []
    with bus.subscribe() as listener:
        assert listener.take() == []


def test_a_listener_that_does_not_read_is_cut_off_and_the_others_are_not() -> None:
    bus = events.Bus()
    with bus.subscribe() as slow, bus.subscribe() as quick:
        for number in range(events.QUEUE_LENGTH + 10):
            bus.publish("container", "start", str(number), {})
            quick.take()
        assert slow.overflowed
        assert len(slow.take()) == events.QUEUE_LENGTH
        assert not quick.overflowed


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["die", "start"]}, True),
        ({"event": ["die"]}, False),
        ({"container": ["web"]}, True),
        ({"container": ["111"]}, True),
        ({"container": ["we"]}, True),
        ({"container": ["db"]}, False),
        ({"image": ["busybox"]}, True),
        ({"image": ["busybox:latest"]}, True),
        ({"image": ["busy"]}, False),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier=front", "other"]}, False),
        ({"network": ["web"]}, False),
        ({"scope": ["local"]}, True),
        ({"type": ["container"], "event": ["die"]}, False),
        ({"type": []}, True),
    ],
)
def test_all_filters_must_fit_and_one_value_of_each(filters: dict[str, list[str]], passes: bool) -> None:
    bus = events.Bus()
    with bus.subscribe(filters=filters) as listener:
        bus.publish("container", "start", "1" * 64, ATTRIBUTES)
        assert bool(listener.take()) is passes


def test_an_event_with_a_colon_is_found_by_its_first_word() -> None:
    bus = events.Bus()
    with bus.subscribe(filters={"event": ["health_status"]}) as listener:
        bus.publish("container", "health_status: healthy", "1", {})
        assert len(listener.take()) == 1


def test_an_unknown_filter_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        events.Bus().subscribe(filters={"colour": ["red"]})


def test_a_closed_listener_gets_nothing_and_may_be_closed_again() -> None:
    bus = events.Bus()
    listener = bus.subscribe()
    listener.close()
    listener.close()
    bus.publish("container", "start", "1", {})
    assert not bus.listeners
    assert listener.take() == []


def test_publishers_in_many_threads_lose_nothing() -> None:
    bus = events.Bus()
    with bus.subscribe() as listener:
        threads = [
            threading.Thread(target=lambda: [bus.publish("container", "x", "1", {}) for _ in range(200)])
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = listener.take()
    assert len(taken) == 1000
    assert [event.time_nano for event in taken] == sorted(event.time_nano for event in taken)
