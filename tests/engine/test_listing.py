"""ps, inspect and info: what is shown, and what filters choose."""

import time

import pytest

from minidock.engine import containers, info, inspection, lifecycle, listing
from minidock.engine.model import RunState
from minidock.errors import InvalidParameter, NotFound
from tests.engine.conftest import Bench

NS = 1_000_000_000


@pytest.fixture(scope="module")
def family(bench: Bench) -> dict[str, str]:
    """Four containers: never started, ended with 0, ended with 3, running."""
    made = {
        "plain": bench.create("true", name="plain", labels={"tier": "back"}),
        "good": bench.start("true", name="good", labels={"tier": "front", "x": "1"}),
        "bad": bench.start("sh", "-c", "exit 3", name="bad", exposed_ports={"80/tcp": {}}),
    }
    for name in ("good", "bad"):
        bench.wait(made[name])
    made["alive"] = bench.start(
        "sleep", "100", name="alive", network_mode="none", exposed_ports={"90-91/udp": {}}
    )
    return made


def shown(bench: Bench, **filters: list[str]) -> list[str]:
    wanted = {name.replace("_", "-"): values for name, values in filters.items()}
    return [line.names[0][1:] for line in listing.summaries(bench.engine, show_all=True, filters=wanted)]


def test_only_what_runs_is_shown_and_everything_with_all(bench: Bench, family: dict[str, str]) -> None:
    assert [line.id for line in listing.summaries(bench.engine)] == [family["alive"]]
    assert shown(bench) == ["alive", "bad", "good", "plain"]
    assert [line.names for line in listing.summaries(bench.engine, limit=2)] == [["/alive"], ["/bad"]]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"status": ["exited"]}, ["bad", "good"]),
        ({"status": ["created", "running"]}, ["alive", "plain"]),
        ({"exited": ["3"]}, ["bad"]),
        ({"exited": ["0"]}, ["good"]),
        ({"name": ["a"]}, ["alive", "bad", "plain"]),
        ({"name": ["/good"]}, ["good"]),
        ({"name": ["^a", "^/p.*n$"]}, ["alive", "plain"]),
        ({"name": ["[", "*"]}, []),
        ({"status": ["exited"], "exited": ["0", "3"]}, ["bad", "good"]),
        ({"label": ["tier"]}, ["good", "plain"]),
        ({"label": ["tier=front", "x"]}, ["good"]),
        ({"before": ["bad"]}, ["good", "plain"]),
        ({"since": ["bad"]}, ["alive"]),
        ({"ancestor": ["hostbox"]}, ["alive", "bad", "good", "plain"]),
        ({"ancestor": ["nothing"]}, []),
        ({"network": ["none"]}, ["alive"]),
        ({"expose": ["80"]}, []),
        ({"expose": ["85-90/udp"]}, ["alive"]),
        ({"health": ["none"]}, ["alive", "bad", "good", "plain"]),
        ({"status": ["exited"], "label": ["tier"]}, ["good"]),
        ({"is_task": ["true"]}, []),
    ],
)
def test_filters_choose(
    bench: Bench, family: dict[str, str], filters: dict[str, list[str]], names: list[str]
) -> None:
    assert shown(bench, **filters) == names


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"colour": ["red"]}, "invalid filter 'colour'"),
        ({"status": ["happy"]}, "invalid filter 'status=happy'"),
        ({"exited": ["x"]}, "invalid filter 'exited=x'"),
        ({"before": ["nobody"]}, "No such container: nobody"),
        ({"health": ["great"]}, "must be one of none, starting, healthy, unhealthy"),
        ({"publish": ["80:80"]}, "filter for 'publish' should not contain ':': 80:80"),
    ],
)
def test_a_bad_filter_is_refused(bench: Bench, filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        shown(bench, **filters)


def test_only_a_status_shows_what_does_not_run(bench: Bench, family: dict[str, str]) -> None:
    lines = {
        name: listing.summaries(bench.engine, filters={name: [value]})
        for name, value in (("status", "exited"), ("exited", "3"))
    }
    assert [len(found) for found in lines.values()] == [2, 0]


def test_a_line_says_what_docker_says(bench: Bench, family: dict[str, str]) -> None:
    (line,) = listing.summaries(bench.engine, filters={"name": ["bad"]}, show_all=True)
    assert line.command == "sh -c 'exit 3'"
    assert line.image == "hostbox"
    assert line.state == "exited"
    assert line.status.startswith("Exited (3) ")
    assert line.status.endswith(" ago")
    (line,) = listing.summaries(bench.engine)
    assert [(port.private_port, port.type) for port in line.ports] == [(90, "udp"), (91, "udp")]
    assert line.status.startswith("Up ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RunState(), "Created"),
        (RunState(status="running", started_at="1970-01-01T00:00:00Z"), "Up 2 minutes"),
        (RunState(status="paused", started_at="1970-01-01T00:01:59Z"), "Up 1 second (Paused)"),
        (
            RunState(status="exited", exit_code=137, finished_at="1970-01-01T00:00:00Z"),
            "Exited (137) 2 minutes ago",
        ),
        (RunState(status="removing"), "Removal In Progress"),
        (RunState(status="dead"), "Dead"),
    ],
)
def test_the_status_in_words(state: RunState, words: str) -> None:
    assert listing.status_words(state, 120) == words


def test_inspect_shows_what_was_asked_and_what_it_became(bench: Bench) -> None:
    identifier = bench.create("true", name="shown", memory=64 << 20, cap_add=["NET_ADMIN"], env=["A=1"])
    found = inspection.inspect(bench.engine, "shown", size=True)
    assert (found.id, found.name, found.path, found.args) == (identifier, "/shown", "true", [])
    assert found.config.hostname == identifier[:12]
    assert found.config.env is not None
    assert found.config.env[0] == "A=1"
    host = found.host_config
    assert (host.memory, host.memory_swap, host.shm_size) == (64 << 20, 128 << 20, 64 << 20)
    assert (host.network_mode, host.ipc_mode, host.log_config.type) == ("bridge", "private", "json-file")
    assert host.cap_add == ["NET_ADMIN"]
    assert "/proc/kcore" in (host.masked_paths or [])
    assert found.size_rw == 0
    assert (found.size_root_fs or 0) > 100_000
    assert list(found.network_settings.networks) == ["bridge"]
    with pytest.raises(NotFound):
        inspection.inspect(bench.engine, "nobody")


def test_info_counts_containers(bench: Bench, family: dict[str, str]) -> None:
    before = info.info(bench.engine)
    lifecycle.pause(bench.engine, "alive")
    after = info.info(bench.engine)
    lifecycle.unpause(bench.engine, "alive")
    assert (after.containers_running, after.containers_paused) == (before.containers_running - 1, 1)
    assert before.containers == len(bench.engine.containers)
    assert before.id == after.id
    assert info.version(bench.engine).api_version == "1.50"


def test_the_same_moment_orders_by_creation(bench: Bench, family: dict[str, str]) -> None:
    order = [container.name for container in listing.newest_first(bench.engine)]
    assert order.index("alive") < order.index("plain")
    assert containers.find(bench.engine, "alive").record.created < time.strftime(
        "%Y-%m-%dT%H:%M:%SZZ", time.gmtime()
    )


def test_a_listing_looks_up_each_image_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {bench.create("true") for _ in range(5)}
    asked = []
    resolve = bench.engine.images.resolve
    monkeypatch.setattr(bench.engine.images, "resolve", lambda name: asked.append(name) or resolve(name))
    found = listing.summaries(bench.engine, show_all=True)
    assert made <= {line.id for line in found}
    assert {line.image for line in found} == {"hostbox"}
    assert asked == ["hostbox"]
