"""_ping, version, info, events and what is refused, over the socket."""

import contextlib
import secrets
import threading
import time
from typing import Any

import pytest

from tests.api.conftest import Client


@pytest.mark.parametrize("path", ["/_ping", "/v1.41/_ping", "/v1.24/_ping"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_says_what_clients_negotiate_with(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status == 200
    assert answer.body == (b"OK" if method == "GET" else b"")
    assert answer.headers["ostype"] == "linux"
    assert answer.headers["docker-experimental"] in ("true", "false")
    major, minor = answer.headers["api-version"].split(".")
    assert (int(major), int(minor)) >= (1, 41)
    assert "no-cache" in answer.headers["cache-control"]


@pytest.mark.only_minidock
def test_ping_says_that_there_is_no_buildkit(client: Client) -> None:
    assert client.get("/_ping").headers["builder-version"] == "1"


def test_version_is_as_documented(client: Client, schema: Any) -> None:
    answer = client.get("/version")
    schema.validate(answer.json, "GET", "/version")
    assert answer.json["ApiVersion"] == answer.headers["api-version"]
    assert answer.json["Os"] == "linux"
    assert any(component["Name"] == "Engine" for component in answer.json["Components"])


def test_info_is_as_documented(client: Client, schema: Any) -> None:
    info = client.get("/info").json
    schema.validate(info, "GET", "/info")
    for name in ("ID", "LoggingDriver", "SystemTime", "SecurityOptions", "ServerVersion", "Name"):
        assert info[name], name
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["NCPU"] > 0
    assert info["MemTotal"] > 0
    assert "local" in info["Plugins"]["Volume"]
    assert {"bridge", "host", "null"} <= set(info["Plugins"]["Network"])
    assert {"json-file", "local"} <= set(info["Plugins"]["Log"])


def test_plugins_is_a_list(client: Client) -> None:
    answer = client.get("/plugins")
    assert answer.status == 200
    assert not answer.json


@pytest.mark.parametrize(
    "path", ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/nodes/x"]
)
def test_swarm_routes_say_that_this_is_no_swarm(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 503
    assert answer.message.startswith("This node is not a swarm manager.")


@pytest.mark.only_minidock
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/build"), ("POST", "/session"), ("POST", "/plugins/pull")],
)
def test_what_is_not_served_is_named(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status == 501
    assert len(answer.message) > 10


@pytest.mark.parametrize(
    "path", ["/networks/no-such-one", "/volumes/no-such-one", "/plugins/no-such-one/json"]
)
def test_what_is_looked_up_by_name_is_404(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert "no-such-one" in answer.message


def test_an_unknown_path_is_not_found(client: Client) -> None:
    assert client.get("/no-such-path").status == 404
    assert client.get("/no-such-path").message == "page not found"


@pytest.mark.parametrize("version", ["v1.999", "v9.1"])
def test_a_version_that_is_too_new_is_refused(client: Client, version: str) -> None:
    answer = client.get(f"/{version}/info")
    assert answer.status == 400
    assert "is too new. Maximum supported API version is" in answer.message


def test_events_tell_the_life_of_a_container_in_both_dialects(containers: Client) -> None:
    since = time.time()
    identifier, _ = containers.run("true")
    containers.delete(f"/containers/{identifier}")
    answer = containers.get(f"/events?since={since:.9f}&until={time.time():.9f}")
    assert answer.headers["content-type"] == "application/json"
    events = [event for event in answer.lines if event.get("id") == identifier]
    actions = [event["Action"] for event in events if event["Action"] != "attach"]
    assert actions[:2] == ["create", "start"]
    assert actions[2:] == ["die", "destroy"]
    for event in events:
        assert (event["Type"], event["scope"]) == ("container", "local")
        assert event["status"] == event["Action"]
        assert event["from"] == event["Actor"]["Attributes"]["image"]
        assert event["timeNano"] // 1_000_000_000 == event["time"]
    assert (
        next(event for event in events if event["Action"] == "die")["Actor"]["Attributes"]["exitCode"] == "0"
    )


def test_events_are_filtered(containers: Client) -> None:
    since = time.time()
    first, _ = containers.run("true", Labels={"colour": "red"})
    second, _ = containers.run("true", Labels={"colour": "blue"})
    window = f"since={since:.9f}&until={time.time():.9f}"
    red = containers.get(f'/events?{window}&filters={{"label":["colour=red"]}}').lines
    assert {event["id"] for event in red} == {first}
    died = containers.get(f'/events?{window}&filters={{"event":{{"die":true}}}}').lines
    assert {event["id"] for event in died} >= {first, second}
    assert {event["Action"] for event in died} == {"die"}
    assert containers.get(f'/events?{window}&filters={{"type":["network"],"label":["colour"]}}').lines == []


@pytest.mark.parametrize("until", ["", "until=9999999999&"])
def test_events_arrive_while_they_happen(containers: Client, until: str) -> None:
    label = secrets.token_hex(8)
    target = f'/events?{until}filters={{"label":["{label}"]}}'
    with contextlib.closing(containers.begin("GET", target)) as response:
        assert response.status == 200
        creating = threading.Thread(target=containers.create, args=("true",), kwargs={"Labels": {label: ""}})
        creating.start()
        line = response.readline()
        creating.join()
        assert b'"create"' in line


@pytest.mark.parametrize("query", ["since=yesterday", "filters={", "until=x"])
def test_bad_event_queries_are_refused(client: Client, query: str, refusals: tuple[int, ...]) -> None:
    assert client.get(f"/events?{query}").status in refusals


def test_events_that_are_over_end_at_once(client: Client) -> None:
    assert client.get("/events?since=1&until=2").body == b""


@pytest.mark.parametrize("kind", ["container", "network", "volume", "image", "builder"])
def test_every_prune_is_told(client: Client, kind: str) -> None:
    """What it removes is nobody's: the label is of this test alone."""
    since = time.time()
    path = "/build/prune" if kind == "builder" else f"/{kind}s/prune"
    filters = f'?filters={{"label":["{secrets.token_hex(8)}"]}}' if kind != "builder" else ""
    assert client.post(f"{path}{filters}").status == 200
    told = client.get(
        f'/events?since={since:.9f}&until={time.time():.9f}&filters={{"event":["prune"]}}'
    ).lines
    assert (kind, "0") in [(event["Type"], event["Actor"]["Attributes"]["reclaimed"]) for event in told]
