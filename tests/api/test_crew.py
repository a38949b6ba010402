"""minidock.api.crew: every job runs at once, threads are used again, and no more than said are kept."""

import functools
import threading
from collections.abc import Iterator

import pytest

from minidock.api.crew import Crew
from tests.api.conftest import eventually

PATIENCE = 20
KEPT = 3


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew("crew under test", KEPT)
    yield made
    made.dismiss()
    assert eventually(lambda: not members())


def members() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "crew under test"]


def test_every_job_runs_at_once_however_many_there_are(crew: Crew) -> None:
    for _ in range(3):
        everybody = threading.Barrier(5 * KEPT + 1)
        for _ in range(5 * KEPT):
            crew.hand_over(functools.partial(everybody.wait, PATIENCE))
        everybody.wait(PATIENCE)  # breaks when one of the jobs has not begun
        assert eventually(lambda: len(members()) == KEPT)


def test_one_after_the_other_are_done_by_the_same_thread(crew: Crew) -> None:
    done = threading.Semaphore(0)
    who: set[int] = set()

    def job() -> None:
        who.add(threading.get_ident())
        done.release()

    for _ in range(20):
        crew.hand_over(job)
        assert done.acquire(timeout=PATIENCE)
        assert eventually(lambda: len(members()) <= KEPT)
    assert len(who) <= KEPT


def test_who_is_busy_when_all_are_dismissed_ends_with_the_job(crew: Crew) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    crew.hand_over(job)
    assert begun.wait(PATIENCE)
    crew.dismiss()
    assert len(members()) == 1
    go_on.set()
    assert eventually(lambda: not members())
