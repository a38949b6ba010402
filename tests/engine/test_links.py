"""--link: the names it gives, and that only a start of the container that has it can fail by it."""

import pytest

from minidock.engine import containers, inspection, lifecycle, listing
from minidock.errors import Conflict, MinidockError, NotFound
from tests.engine.conftest import Bench

FOREVER = ("sleep", "1000")


def names(bench: Bench) -> list[list[str]]:
    return [line.names for line in listing.summaries(bench.engine)]


def test_a_target_is_known_by_its_link_until_the_link_is_removed(fresh_bench: Bench) -> None:
    target = fresh_bench.start(*FOREVER, name="db")
    fresh_bench.start(*FOREVER, name="web", links=["db:base"])
    assert names(fresh_bench) == [["/web"], ["/db", "/web/base"]]
    assert containers.find(fresh_bench.engine, "web/base").id == target
    assert [line.id for line in listing.summaries(fresh_bench.engine, filters={"name": ["^web/"]})] == [
        target
    ]
    fresh_bench.reopen()
    for _ in range(2):  # the link alone goes, and stays away after a restart of the daemon
        if len(names(fresh_bench)[1]) == 2:
            lifecycle.remove(fresh_bench.engine, "web/base", link=True)
        assert names(fresh_bench) == [["/web"], ["/db"]]
        assert inspection.inspect(fresh_bench.engine, "web").host_config.links is None
        fresh_bench.reopen()


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("web", Conflict, "cannot remove the default link name"),
        ("web/nothing", NotFound, "No such container: web/nothing"),
        ("nobody/base", NotFound, "No such container: nobody/base"),
    ],
)
def test_what_is_no_link_cannot_be_removed_as_one(
    fresh_bench: Bench, path: str, error: type[Exception], message: str
) -> None:
    fresh_bench.create("true", name="web")
    with pytest.raises(error, match=message):
        lifecycle.remove(fresh_bench.engine, path, link=True)


def test_a_target_may_start_again_while_another_one_is_down_or_gone(fresh_bench: Bench) -> None:
    for name in ("db", "cache"):
        fresh_bench.start(*FOREVER, name=name)
    fresh_bench.start(*FOREVER, name="web", links=["db", "cache"])
    for name in ("db", "cache"):
        lifecycle.kill(fresh_bench.engine, name)
    lifecycle.start(fresh_bench.engine, "db")
    assert containers.find(fresh_bench.engine, "db").is_running
    lifecycle.kill(fresh_bench.engine, "web")
    with pytest.raises(MinidockError, match="Cannot link to a non running container: /cache AS /web/cache"):
        lifecycle.start(fresh_bench.engine, "web")
    lifecycle.remove(fresh_bench.engine, "cache")
    lifecycle.restart(fresh_bench.engine, "db")
    assert containers.find(fresh_bench.engine, "db").is_running
