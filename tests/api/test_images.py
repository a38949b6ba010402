"""Images over the socket: import, list, inspect, tag, remove; unchanged against dockerd."""

import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Client


@pytest.fixture
def repository(client: Client) -> Iterator[str]:
    """Yield a repository name of this test; its tags are removed afterwards."""
    name = f"minidock-api/{uuid.uuid4().hex}"
    yield name
    for found in client.get("/images/json?all=1").json:
        for tag in found["RepoTags"] or []:
            if tag.startswith(name):
                client.delete(f"/images/{tag}?force=1")


def small_tar(text: str) -> bytes:
    """Return a root file system with one file of these words."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("word")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def saved_tar(reference: str, text: str) -> bytes:
    """Return an image of one layer as `docker save` writes it: manifest.json, config, layer."""
    layer = small_tar(text)
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/word"], "Labels": {"word": text}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["0/layer.tar"]}]
    files = {"0/layer.tar": layer, "config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_load_takes_what_save_writes(client: Client, repository: str) -> None:
    data = saved_tar(f"{repository}:v1", repository)
    answer = client.request("POST", "/images/load?quiet=1", data, {"Content-Type": "application/x-tar"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.lines[-1] == {"stream": f"Loaded image: {repository}:v1\n"}
    assert client.get(f"/images/{repository}:v1/json").json["Config"]["Labels"] == {"word": repository}


def test_a_loaded_archive_that_is_cut_short_leaves_nothing(client: Client, repository: str) -> None:
    data = saved_tar(f"{repository}:v1", repository)
    answer = client.request("POST", "/images/load", data[:4000], {"Content-Type": "application/x-tar"})
    assert answer.status >= 400 or "error" in answer.lines[-1]
    assert client.get(f"/images/{repository}:v1/json").status == 404


def test_import_in_chunks_answers_the_id(client: Client, repository: str) -> None:
    data = small_tar(repository)
    pieces = iter([data[:1000], data[1000:]])
    answer = client.post(f"/images/create?fromSrc=-&repo={repository}&tag=v1&message=hello", pieces)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    identifier = answer.lines[-1]["status"]
    assert identifier.startswith("sha256:")
    assert client.get(f"/images/{repository}:v1/json").json["Id"] == identifier


def test_import_takes_changes_or_refuses_them_by_name(client: Client, repository: str) -> None:
    changes = "changes=CMD%20%5B%22%2Fword%22%5D&changes=ENV%20COLOUR%3Dred"
    answer = client.post(
        f"/images/create?fromSrc=-&repo={repository}&tag=v1&{changes}", small_tar(repository)
    )
    if answer.status == 501:
        assert "--change" in answer.message
        assert client.get(f"/images/{repository}:v1/json").status == 404
        return
    config = client.get(f"/images/{repository}:v1/json").json["Config"]
    assert config["Cmd"] == ["/word"]
    assert "COLOUR=red" in config["Env"]


def test_what_is_no_tar_is_refused_and_leaves_nothing(client: Client, repository: str) -> None:
    answer = client.post(f"/images/create?fromSrc=-&repo={repository}&tag=v1", b"this is no tar " * 1000)
    failed = answer.status >= 400 or "error" in answer.lines[-1]
    assert failed
    assert client.get(f"/images/{repository}:v1/json").status == 404


def test_load_of_what_is_no_image_is_refused(client: Client) -> None:
    answer = client.request(
        "POST", "/images/load", b"nonsense " * 1000, {"Content-Type": "application/x-tar"}
    )
    failed = answer.status >= 400 or "error" in answer.lines[-1]
    assert failed


def test_list_and_inspect_are_as_documented(client: Client, image: str, schema: Any) -> None:
    found = client.get("/images/json").json
    schema.validate(found, "GET", "/images/json")
    summary = next(one for one in found if image in one["RepoTags"])
    assert isinstance(summary["Created"], int)
    assert summary["Size"] > 0
    inspected = client.get(f"/images/{image}/json").json
    schema.validate(inspected, "GET", "/images/{name}/json")
    assert inspected["Id"] == summary["Id"]
    assert inspected["Os"] == "linux"
    assert inspected["RootFS"]["Type"] == "layers"


def test_history_is_as_documented(client: Client, image: str, schema: Any) -> None:
    answer = client.get(f"/images/{image}/history")
    schema.validate(answer.json, "GET", "/images/{name}/history")
    assert answer.json


def test_untagged_images_have_the_tags_of_their_clients_time(client: Client, repository: str) -> None:
    identifier = client.post("/images/create?fromSrc=-", small_tar(repository)).lines[-1]["status"]
    try:
        old = next(one for one in client.get("/v1.40/images/json").json if one["Id"] == identifier)
        assert old["RepoTags"] in (["<none>:<none>"], None)
        assert "VirtualSize" in old
    finally:
        assert client.delete(f"/images/{identifier}").status == 200


def test_filters_select(client: Client, repository: str) -> None:
    client.post(f"/images/create?fromSrc=-&repo={repository}&tag=v1", small_tar(repository))
    for filters in ({"reference": [repository]}, {"reference": {f"{repository}:v1": True}}):
        text = json.dumps(filters).replace(" ", "")
        found = client.get(f"/images/json?filters={text}").json
        assert [one["RepoTags"] for one in found] == [[f"{repository}:v1"]]
    assert client.get('/images/json?filters={"wings":["2"]}').status == 400


def test_tag_and_untag(client: Client, image: str, repository: str) -> None:
    assert client.post(f"/images/{image}/tag?repo={repository}&tag=one").status == 201
    assert client.post(f"/images/{repository}:one/tag?repo={repository}&tag=two").status == 201
    removed = client.delete(f"/images/{repository}:one")
    assert removed.status == 200
    assert removed.json == [{"Untagged": f"{repository}:one"}]
    assert client.get(f"/images/{repository}:two/json").status == 200
    assert client.get(f"/images/{repository}:one/json").status == 404


@pytest.mark.parametrize("repo", ["good/UPPER", "a//b", "a b"])
def test_a_bad_tag_is_400(client: Client, image: str, repo: str, refusals: tuple[int, ...]) -> None:
    assert client.post(f"/images/{image}/tag?repo={repo.replace(' ', '%20')}&tag=x").status in refusals
    assert client.post(f"/images/{image}/tag?repo=good&tag=b%20d").status in refusals


def test_removing_the_last_tag_deletes_the_image(client: Client, repository: str, schema: Any) -> None:
    created = client.post(f"/images/create?fromSrc=-&repo={repository}&tag=v1", small_tar(repository))
    identifier = created.lines[-1]["status"]
    removed = client.delete(f"/images/{repository}:v1")
    schema.validate(removed.json, "DELETE", "/images/{name}")
    assert {"Untagged": f"{repository}:v1"} in removed.json
    assert {"Deleted": identifier} in removed.json
    assert client.get(f"/images/{identifier}/json").status == 404


def test_an_image_in_use_is_409(containers: Client, repository: str) -> None:
    containers.post(f"/images/create?fromSrc=-&repo={repository}&tag=v1", small_tar(repository))
    created = containers.post("/containers/create", {"Image": f"{repository}:v1", "Cmd": ["/word"]})
    answer = containers.delete(f"/images/{repository}:v1")
    assert answer.status == 409
    words = f'conflict: unable to remove repository reference "{repository}:v1" (must force) - container'
    assert answer.message.startswith(words)
    assert containers.delete(f"/containers/{created.json['Id']}").status == 204


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/no-such-image/json"),
        ("GET", "/images/no-such-image/history"),
        ("POST", "/images/no-such-image/tag?repo=a&tag=b"),
        ("DELETE", "/images/no-such-image"),
        ("GET", "/images/localhost:5000/no-such-image:3/json"),
    ],
)
def test_a_missing_image_is_404(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status == 404
    assert "no-such-image" in answer.message


@pytest.mark.usefixtures("only_minidock")
def test_the_built_in_image_can_be_pulled_without_a_network(client: Client) -> None:
    answer = client.post("/images/create?fromImage=docker.io%2Flibrary%2Fhostbox&tag=latest")
    assert answer.status == 200
    assert "hostbox:latest is ready" in answer.lines[-1]["status"]
    assert client.get("/images/hostbox/json").status == 200


@pytest.mark.usefixtures("only_minidock")
@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("registry.invalid/a", "DNS failed: the name registry.invalid was not resolved"),
        ("127.0.0.1:1/a", "the network failed: no connection to 127.0.0.1:1"),
    ],
)
def test_a_failed_pull_says_what_failed_and_what_there_is(client: Client, image: str, sentence: str) -> None:
    answer = client.post(f"/images/create?fromImage={image}&tag=latest")
    assert answer.status == 503
    assert answer.message.startswith(f"cannot pull {image}:latest: {sentence}")
    assert "hostbox" in answer.message
    assert "docker load" in answer.message


def test_a_pull_of_no_reference_is_400(client: Client) -> None:
    assert client.post("/images/create?fromImage=UPPER&tag=latest").status == 400


@pytest.mark.usefixtures("only_minidock")
def test_a_create_from_nothing_is_400(client: Client) -> None:
    assert client.post("/images/create").status == 400
