"""Routes of a container's files; what they assert is Docker's behaviour."""

import base64
import io
import json
import tarfile
from urllib.parse import quote

import pytest

from tests.api.conftest import Answer, Client

STAT = "x-docker-container-path-stat"


def told(answer: Answer) -> dict[str, object]:
    found: dict[str, object] = json.loads(base64.b64decode(answer.headers[STAT]))
    return found


def members(answer: Answer) -> dict[str, bytes | None]:
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        found: dict[str, bytes | None] = {}
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            found[member.name] = content.read() if content else None
        return found


def tar(name: str, data: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


@pytest.fixture
def box(containers: Client) -> str:
    """Return a container that has ended and left some files."""
    script = "cd /root; echo one > f; echo two > g; >/tmp/empty"
    return containers.run("sh", "-c", script)[0]


def test_a_path_is_told_about_and_read(containers: Client, box: str) -> None:
    seen = containers.request("HEAD", f"/containers/{box}/archive?path=/root/f")
    assert (seen.status, seen.body) == (200, b"")
    found = told(seen)
    assert (found["name"], found["size"], found["linkTarget"]) == ("f", 4, "")
    answer = containers.get(f"/containers/{box}/archive?path=/root/")
    assert answer.headers["content-type"] == "application/x-tar"
    assert told(answer)["mode"] == 1 << 31 | 0o755
    assert members(answer) == {"root": None, "root/f": b"one\n", "root/g": b"two\n"}
    assert (
        told(containers.request("HEAD", f"/containers/{box}/archive?path=/bin/sh"))["linkTarget"]
        == "/bin/busybox"
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_a_tar_is_extracted(containers: Client, box: str, chunked: bool) -> None:
    data = tar("new", b"x" * 100_000)
    body = iter([data[:7], data[7:]]) if chunked else data
    answer = containers.request("PUT", f"/containers/{box}/archive?path=/root", body)
    assert (answer.status, answer.body) == (200, b"")
    assert members(containers.get(f"/containers/{box}/archive?path=/root/new")) == {"new": b"x" * 100_000}


def test_what_is_not_there_is_a_404_in_dockers_words(containers: Client, box: str) -> None:
    for method, body in (("GET", None), ("PUT", tar("f", b""))):
        answer = containers.request(method, f"/containers/{box}/archive?path=/nope", body)
        assert (answer.status, answer.message) == (404, f"Could not find the file /nope in container {box}")
    assert containers.request("HEAD", f"/containers/{box}/archive?path=/nope").status == 404
    assert containers.get(f"/containers/{box}/archive").status == 400
    assert containers.get("/containers/no-such/archive?path=/").status == 404


def test_changes_are_listed(containers: Client, box: str) -> None:
    found = {(change["Path"], change["Kind"]) for change in containers.get(f"/containers/{box}/changes").json}
    assert found == {("/root", 0), ("/root/f", 1), ("/root/g", 1), ("/tmp", 0), ("/tmp/empty", 1)}
    fresh = containers.create("true")
    assert not containers.get(f"/containers/{fresh}/changes").json


def test_an_export_is_the_whole_tree(containers: Client, box: str) -> None:
    answer = containers.get(f"/containers/{box}/export")
    found = members(answer)
    assert found["root/f"] == b"one\n"
    assert {"etc/hosts", "proc", "bin/busybox"} <= set(found)
    assert containers.get("/containers/no-such/export").status == 404


@pytest.mark.only_minidock  # dockerd 20.10 answers some with 500
def test_a_container_that_ends_meanwhile_is_committed_and_not_paused(containers: Client, rounds: int) -> None:
    for number in range(rounds):
        short = containers.create("true")
        containers.start(short)
        if number % 2:
            assert containers.post(f"/containers/{short}/pause").status in (204, 409)
            containers.post(f"/containers/{short}/unpause")
        answer = containers.request("POST", f"/commit?container={short}", {})
        assert answer.status == 201, answer.message
        containers.delete(f"/images/{answer.json['Id']}")


def test_a_commit_is_an_image(containers: Client, box: str) -> None:
    command = quote('CMD ["cat", "/root/f"]')
    query = f"repo=api-committed&tag=t&author=me&comment=c&changes=ENV%20A%3D1&changes={command}"
    answer = containers.request("POST", f"/commit?container={box}&{query}", {})
    assert answer.status == 201
    image = containers.get("/images/api-committed:t/json").json
    try:
        assert image["Id"] == answer.json["Id"]
        assert (image["Author"], image["Comment"]) == ("me", "c")
        assert (image["Config"]["Env"], image["Config"]["Cmd"]) == (["A=1"], ["cat", "/root/f"])
        old = containers.get("/v1.41/images/api-committed:t/json").json  # later clients are not told
        assert old["Container"] == containers.get(f"/containers/{box}/json").json["Id"]
    finally:
        containers.delete("/images/api-committed:t")
    bad = containers.request("POST", f"/commit?container={box}&changes=FROM%20x", {})
    assert (bad.status, bad.message) == (400, "from is not a valid change command")
    assert containers.request("POST", "/commit?container=no-such", {}).status == 404
