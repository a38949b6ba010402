"""Images over the socket: import, list, inspect, tag, remove; unchanged against dockerd."""

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import IMAGE, Client


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


def test_a_load_tells_how_far_its_layers_are_unless_it_shall_be_quiet(
    client: Client, repository: str
) -> None:
    data = saved_tar(f"{repository}:v1", repository * 50_000)
    quiet = client.request("POST", "/images/load", data, {"Content-Type": "application/x-tar"}).lines
    assert quiet == [{"stream": f"Loaded image: {repository}:v1\n"}]
    assert client.delete(f"/images/{repository}:v1").status == 200
    answer = client.request("POST", "/images/load?quiet=0", data, {"Content-Type": "application/x-tar"})
    *steps, last = answer.lines
    assert last == {"stream": f"Loaded image: {repository}:v1\n"}
    diff_id = client.get(f"/images/{repository}:v1/json").json["RootFS"]["Layers"][0]
    assert {(step["status"], step["id"]) for step in steps} == {("Loading layer", diff_id[7:19])}
    done = [step["progressDetail"]["current"] for step in steps]
    assert done == sorted(done)
    assert done[-1] == steps[-1]["progressDetail"]["total"]
    again = client.request("POST", "/images/load?quiet=0", data, {"Content-Type": "application/x-tar"})
    assert again.lines == [last]  # nothing to do


def test_a_loaded_archive_that_is_cut_short_leaves_nothing(client: Client, repository: str) -> None:
    data = saved_tar(f"{repository}:v1", repository)
    answer = client.request("POST", "/images/load", data[:4000], {"Content-Type": "application/x-tar"})
    assert answer.status == 200  # docker prints what it says, and not "Error response from daemon"
    assert "error" in answer.lines[-1]
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


def test_import_takes_changes(client: Client, repository: str) -> None:
    changes = "changes=CMD%20%5B%22%2Fword%22%5D&changes=ENV%20COLOUR%3Dred"
    answer = client.post(
        f"/images/create?fromSrc=-&repo={repository}&tag=v1&{changes}", small_tar(repository)
    )
    assert answer.status == 200
    config = client.get(f"/images/{repository}:v1/json").json["Config"]
    assert config["Cmd"] == ["/word"]
    assert "COLOUR=red" in config["Env"]


def test_an_import_with_a_bad_change_is_refused(client: Client, repository: str) -> None:
    target = f"/images/create?fromSrc=-&repo={repository}&tag=v1&changes=RUN%20x"
    answer = client.post(target, small_tar(repository))
    assert answer.status == 400
    assert answer.message == "run is not a valid change command"
    assert client.get(f"/images/{repository}:v1/json").status == 404


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a web server on this machine that serves `tmp_path`."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.only_minidock  # a dockerd may have a network namespace of its own
def test_the_engine_fetches_an_import_from_the_web(
    client: Client, repository: str, site: str, tmp_path: Path
) -> None:
    (tmp_path / "root.tar").write_bytes(small_tar(repository))
    target = f"/images/create?repo={repository}&tag=v1&fromSrc={site}/"
    told = client.post(f"{target}root.tar").lines
    assert told[0]["status"] == f"Downloading from {site}/root.tar"
    assert told[-2]["status"] == "Importing"
    size = (tmp_path / "root.tar").stat().st_size
    assert told[-2]["progressDetail"] == {"current": size, "total": size}
    assert told[-1]["status"] == client.get(f"/images/{repository}:v1/json").json["Id"]
    missing = client.post(f"{target}missing")
    assert missing.status == 503
    assert missing.message == f"failed to GET {site}/missing with status 404 File not found"
    assert client.post("/images/create?fromSrc=ftp://x/y").message == (
        'Get "ftp://x/y": unsupported protocol scheme "ftp"'
    )


@pytest.mark.parametrize("path", ["/images/{}/get", "/images/get?names={}"])
def test_what_is_saved_is_loaded_as_the_same_image(client: Client, repository: str, path: str) -> None:
    name = f"{repository}:v1"
    client.post("/images/load", saved_tar(name, repository))
    before = client.get(f"/images/{name}/json").json
    saved = client.get(path.format(name))
    assert (saved.status, saved.headers["content-type"]) == (200, "application/x-tar")
    assert client.delete(f"/images/{name}").status == 200
    assert client.get(f"/images/{name}/json").status == 404
    assert f"Loaded image: {name}\n" in [
        line["stream"] for line in client.post("/images/load", saved.body).lines
    ]
    assert client.get(f"/images/{name}/json").json["Id"] == before["Id"]


def test_several_images_are_saved_in_one_archive(client: Client, repository: str) -> None:
    names = [f"{repository}/one:v1", f"{repository}/two:v2"]
    for name in names:
        client.post("/images/load", saved_tar(name, name))
    saved = client.get("/images/get?" + "&".join(f"names={name}" for name in names))
    with tarfile.open(fileobj=io.BytesIO(saved.body)) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        assert sorted(tag for item in json.load(file) for tag in item["RepoTags"]) == names


def test_saving_what_is_not_there_is_404_before_the_first_byte(client: Client, image: str) -> None:
    answer = client.get(f"/images/get?names={image}&names=nope-nope")
    assert answer.status == 404
    assert "No such image: nope-nope" in answer.message


@pytest.mark.only_minidock
def test_another_machines_platform_is_refused(client: Client, image: str) -> None:
    assert client.get(f"/images/{image}/get?platform=linux/s390x").status == 501
    assert client.get(f"/images/{image}/get?platform=%7B%22os%22%3A%22linux%22%7D").status == 200
    assert client.get(f"/images/{image}/get?platform=%7B").status == 400


def test_prunes_and_disk_usage_are_as_documented(client: Client, image: str, schema: Any) -> None:
    usage = client.get("/system/df").json
    schema.validate(usage, "GET", "/system/df")
    assert any(image in line["RepoTags"] for line in usage["Images"])
    nothing = "%7B%22label%22%3A%5B%22no-such-label%22%5D%7D"
    for path in ("/images/prune", "/containers/prune", "/build/prune"):
        answer = client.post(path if path == "/build/prune" else f"{path}?filters={nothing}")
        assert answer.status == 200
        schema.validate(answer.json, "POST", path)
        assert answer.json["SpaceReclaimed"] == 0
    assert client.post("/images/prune?filters=%7B%22x%22%3A%5B%22y%22%5D%7D").status == 400


@pytest.mark.only_minidock
def test_the_difference_of_two_images_is_listed(client: Client, repository: str) -> None:
    for word in ("one", "three"):
        client.post(f"/images/create?fromSrc=-&repo={repository}&tag={word}", small_tar(word))
    found = client.get(f"/images/{repository}:one/changes?to={repository}:three").json
    assert found == [{"Path": "/word", "Kind": 0}]
    assert client.get(f"/images/{repository}:one/changes").status == 400


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


@pytest.mark.only_minidock  # Docker's answer depends on its own version
def test_clients_of_its_time_find_the_containers_configuration(client: Client, image: str) -> None:
    for version, agent, there in (
        ("1.44", "docker/25", True),
        ("1.50", "docker-compose/1.29.2 docker-py/5.0.3", True),
        ("1.50", "docker/28", False),
    ):
        answer = client.request("GET", f"/v{version}/images/{image}/json", headers={"User-Agent": agent})
        assert ("ContainerConfig" in answer.json) == there


def test_an_image_of_a_commit_tells_older_clients_of_its_container(containers: Client) -> None:
    container = containers.create("true")
    image = containers.post(f"/commit?container={container}").json["Id"]
    try:
        told = containers.get(f"/v1.41/images/{image}/json").json
        assert (told["Container"], told["ContainerConfig"]["Image"]) == (container, IMAGE)
    finally:
        assert containers.delete(f"/images/{image}").status == 200


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


def test_each_verb_of_images_is_told_as_an_event(containers: Client, repository: str) -> None:
    since = time.time()
    name = f"{repository}:v1"
    containers.post("/images/load", saved_tar(name, repository))
    identifier = containers.get(f"/images/{name}/json").json["Id"]
    assert containers.post(f"/images/{name}/tag?repo={repository}&tag=two").status == 201
    assert containers.get(f"/images/{name}/get").status == 200
    assert containers.delete(f"/images/{repository}:two").status == 200
    box = containers.create("/word", Image=name)
    made = containers.post(f"/commit?container={box}&repo={repository}&tag=made", {}).json["Id"]
    assert containers.delete(f"/images/{made}").status == 200
    assert containers.delete(f"/containers/{box}").status == 204
    assert containers.delete(f"/images/{name}").status == 200
    imported = f"/images/create?fromSrc=-&repo={repository}&tag=imported"
    found = containers.post(imported, small_tar("imported")).lines[-1]["status"]
    assert containers.delete(f"/images/{found}").status == 200
    filters = quote(json.dumps({"type": ["image"]}))
    answer = containers.get(f"/events?since={since:.6f}&until={time.time() + 0.1:.6f}&filters={filters}")
    events = [(event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"]) for event in answer.lines]
    own = [(action, image) for action, image, _ in events if image in (identifier, made, found)]
    assert own == [
        ("load", identifier),
        ("tag", identifier),
        ("save", identifier),
        ("untag", identifier),
        ("tag", made),
        ("untag", made),
        ("delete", made),
        ("untag", identifier),
        ("delete", identifier),
        ("tag", found),
        ("import", found),
        ("untag", found),
        ("delete", found),
    ]
    told = {action: attributes for action, image, attributes in events if image == identifier}
    assert told["tag"] == {"name": f"{repository}:two", "word": repository}
    assert told["save"] == told["load"] == {"name": identifier, "word": repository}
    assert told["delete"]["name"] == identifier


def last_tag_time(client: Client, name: str) -> str:
    return str(client.get(f"/images/{name}/json").json["Metadata"]["LastTagTime"])


def test_the_last_tag_time_is_that_of_the_last_name_given_here(containers: Client, repository: str) -> None:
    name = f"{repository}:v1"
    containers.post("/images/load", saved_tar(name, repository))
    assert last_tag_time(containers, name) == "0001-01-01T00:00:00Z"  # it came with its name
    assert containers.post(f"/images/{name}/tag?repo={repository}&tag=two").status == 201
    tagged = last_tag_time(containers, name)
    assert tagged > "2020"
    assert containers.delete(f"/images/{repository}:two").status == 200
    assert last_tag_time(containers, name) == tagged
    imported = f"/images/create?fromSrc=-&repo={repository}&tag=imported"
    assert containers.post(imported, small_tar("imported")).status == 200
    assert last_tag_time(containers, f"{repository}:imported") > tagged
    box = containers.create("/word", Image=name)
    for query in (f"&repo={repository}&tag=made", ""):
        made = containers.post(f"/commit?container={box}{query}", {"Labels": {"query": query}}).json["Id"]
        assert (last_tag_time(containers, made) > tagged) == bool(query)
    containers.delete(f"/images/{made}")


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


@pytest.mark.only_minidock
def test_the_built_in_image_can_be_pulled_without_a_network(client: Client) -> None:
    answer = client.post("/images/create?fromImage=docker.io%2Flibrary%2Fhostbox&tag=latest")
    assert answer.status == 200
    assert "hostbox:latest is ready" in answer.lines[-1]["status"]
    assert client.get("/images/hostbox/json").status == 200


@pytest.mark.only_minidock
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


@pytest.mark.only_minidock
def test_a_create_from_nothing_is_400(client: Client) -> None:
    assert client.post("/images/create").status == 400
