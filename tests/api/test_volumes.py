"""Routes of volumes; what they assert is Docker's behaviour."""

import os

import pytest

from tests.api.conftest import IMAGE, Client, Schema


@pytest.fixture
def name() -> str:
    return f"api-{os.urandom(6).hex()}"


def test_a_volume_is_made_shown_and_removed(client: Client, schema: Schema, name: str) -> None:
    made = client.post("/volumes/create", {"Name": name, "Labels": {"a": "b"}})
    assert made.status == 201
    assert (made.json["Name"], made.json["Driver"], made.json["Scope"]) == (name, "local", "local")
    assert made.json["Labels"] == {"a": "b"}
    assert made.json["Mountpoint"].endswith(f"/{name}/_data")
    assert client.post("/volumes/create", {"Name": name}).json["Labels"] == {"a": "b"}
    shown = client.get(f"/volumes/{name}")
    assert shown.status == 200
    schema.validate(shown.json, "GET", "/volumes/{name}")
    listed = client.get("/volumes")
    schema.validate(listed.json, "GET", "/volumes")
    assert name in {volume["Name"] for volume in listed.json["Volumes"]}
    assert client.delete(f"/volumes/{name}").status == 204
    gone = client.get(f"/volumes/{name}")
    assert (gone.status, gone.message) == (404, f"get {name}: no such volume")
    assert client.delete(f"/volumes/{name}").status == 404
    assert client.delete(f"/volumes/{name}?force=1").status == 204


def test_an_unknown_driver_is_not_found(client: Client, name: str) -> None:
    answer = client.post("/volumes/create", {"Name": name, "Driver": "none.such"})
    assert answer.status == 404
    assert 'plugin "none.such" not found' in answer.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Name": "a/b"}, 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ({"Name": "a"}, "create a: volume name is too short"),
        ({"Name": "no-such", "DriverOpts": {"foo": "1"}}, 'create no-such: invalid option: "foo"'),
        ({"Name": "no-such", "DriverOpts": {"o": "1"}}, "create no-such: missing required option"),
    ],
)
def test_a_bad_volume_is_refused(client: Client, body: dict[str, object], message: str) -> None:
    answer = client.post("/volumes/create", body)
    assert answer.status == 400
    assert answer.message.startswith(message)


def test_a_volume_in_use_is_not_removed(containers: Client, name: str) -> None:
    identifier = containers.create("true", host={"Binds": [f"{name}:/v"]})
    answer = containers.delete(f"/volumes/{name}")
    assert (answer.status, answer.message) == (409, f"remove {name}: volume is in use - [{identifier}]")
    (point,) = containers.inspect(identifier)["Mounts"]
    wanted = {"Type": "volume", "Name": name, "Destination": "/v", "Driver": "local", "Mode": "z", "RW": True}
    assert {**point, **wanted, "Propagation": ""} == point
    containers.delete(f"/containers/{identifier}?v=1")
    assert containers.delete(f"/volumes/{name}").status == 204


def test_an_unknown_container_of_volumes_from_is_a_bad_request(containers: Client) -> None:
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"VolumesFrom": ["[data]"]}}
    answer = containers.post("/containers/create", body)
    assert "No such container: [data]" in answer.message
    assert answer.status in (400, 404)


@pytest.mark.only_minidock
def test_prune_of_an_old_client_takes_all_that_nobody_uses(client: Client, name: str) -> None:
    client.post("/volumes/create", {"Name": name, "Labels": {name: "1"}})
    chosen = f'filters={{"label":["{name}"]}}'
    assert client.post(f"/v1.42/volumes/prune?{chosen}").json["VolumesDeleted"] == []
    pruned = client.post(f"/v1.41/volumes/prune?{chosen}").json
    assert pruned == {"VolumesDeleted": [name], "SpaceReclaimed": 0}


def test_an_unknown_filter_is_refused(client: Client) -> None:
    answer = client.get('/volumes?filters={"colour":["red"]}')
    assert answer.status == 400
    assert "nvalid filter 'colour'" in answer.message
