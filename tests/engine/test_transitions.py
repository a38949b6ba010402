"""The life of a container, as a table."""

import pytest

from minidock.engine import transitions
from minidock.errors import Conflict, NotModified

ID = "3f" * 32


def test_every_status_is_reached_from_created() -> None:
    reached, before = {"created"}, set[str]()
    while reached != before:
        before = set(reached)
        reached |= {after for (status, _), after in transitions.TABLE.items() if status in reached}
    assert reached == {"created", "running", "paused", "restarting", "exited", "removing", "dead"}


def test_every_status_can_come_to_be_removed() -> None:
    towards = {"removing"}
    for _ in range(6):
        towards |= {status for (status, _), after in transitions.TABLE.items() if after in towards}
    assert towards == {"created", "running", "paused", "restarting", "exited", "removing", "dead"}


def test_nothing_that_runs_is_removed() -> None:
    for status in transitions.RUNNING:
        assert transitions.following(status, "remove") is None


@pytest.mark.parametrize(
    ("status", "verb", "error", "message"),
    [
        ("running", "start", NotModified, "already running"),
        ("paused", "start", Conflict, "cannot start a paused container, try unpause instead"),
        ("removing", "start", Conflict, "container is marked for removal and cannot be started"),
        ("exited", "stop", NotModified, "not running"),
        ("exited", "kill", Conflict, f"cannot kill container: web: container {ID} is not running"),
        ("paused", "pause", Conflict, f"container {ID} is already paused"),
        ("exited", "pause", Conflict, f"container {ID} is not running"),
        ("running", "unpause", Conflict, f"container {ID} is not paused"),
        (
            "running",
            "remove",
            Conflict,
            'cannot remove container "/web": container is running: '
            "stop the container before removing or force remove",
        ),
        (
            "paused",
            "remove",
            Conflict,
            'cannot remove container "/web": container is paused and must be unpaused first',
        ),
        ("removing", "remove", Conflict, "removal of container web is already in progress"),
        ("restarting", "start", NotModified, "already running"),
        ("restarting", "pause", Conflict, f"container {ID} is restarting"),
        (
            "restarting",
            "remove",
            Conflict,
            'cannot remove container "/web": container is restarting: '
            "stop the container before removing or force remove",
        ),
    ],
)
def test_what_is_not_in_the_table_is_refused_in_dockers_words(
    status: str, verb: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        transitions.require(status, verb, ID, "web")
    assert message in str(caught.value)


def test_every_pair_is_answered() -> None:
    for status in ("created", "running", "paused", "restarting", "exited", "removing", "dead", "gone"):
        for verb in ("start", "stop", "kill", "pause", "unpause", "remove", "resize"):
            try:
                assert transitions.require(status, verb, ID, "web")
            except (Conflict, NotModified) as refusal:
                assert str(refusal)  # noqa: PT017
