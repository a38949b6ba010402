"""A daemon killed in the middle of a load or a removal: the next one finds the old state or the new."""

import contextlib
import http.client
import io
import os
import random
import signal
import tarfile
import threading
import time
from collections.abc import Callable

import pytest

from tests import seed
from tests.api.conftest import Client, Daemon, busybox_tar

StartDaemon = Callable[..., Daemon]
LONGEST = 0.5  # seconds until the kill: about as long as the work takes
WHOLE = {tag for image in seed.GRAPH for tag in image.tags}


def kill_during(daemon: Daemon, work: Callable[[Client], object], delay: float) -> None:
    """Kill the daemon after `delay` seconds of the work."""

    def run() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            work(daemon.client())

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(delay)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    thread.join()


def check_whole(daemon: Daemon) -> set[str]:
    """Check that every image is complete and nothing half is left on the disk; return the names."""
    client = daemon.client()
    found = client.get("/images/json?all=1").json
    for image in found:
        saved = client.get(f"/images/{image['Id']}/get")
        assert saved.status == 200, saved.body
        with tarfile.open(fileobj=io.BytesIO(saved.body)) as archive:
            assert "manifest.json" in archive.getnames()
        assert client.get(f"/images/{image['Id']}/json").status == 200
        assert not image["ParentId"] or image["ParentId"] in {other["Id"] for other in found}
    stores = [daemon.directory / "data" / name for name in ("images/blobs/sha256", "layers")]
    left = [path.name for store in stores for path in store.iterdir()]
    assert not [name for name in left if "tmp" in name or "damaged" in name]
    documents = 2 * len(found)  # a config and a manifest each; the empty layers are one blob
    blobs = os.listdir(stores[0])
    assert documents <= len(blobs) <= documents + len(found)
    return {tag for image in found for tag in image["RepoTags"]}


@pytest.mark.soak(100)
def test_a_kill_during_a_load_leaves_all_or_nothing(new_daemon: StartDaemon, rounds: int) -> None:
    archive = seed.archive()
    daemon = new_daemon("killed-load")
    for turn in range(rounds):
        delay = random.Random(turn).uniform(0, LONGEST)
        kill_during(daemon, lambda client: client.post("/images/load", archive), delay)
        daemon = new_daemon("killed-load")
        names = check_whole(daemon)
        assert names in (set(), WHOLE), delay
        for name in names:
            assert daemon.client().delete(f"/images/{name}").status == 200
        assert daemon.client().get("/images/json?all=1").json == []
        assert os.listdir(daemon.directory / "data/images/blobs/sha256") == []


@pytest.mark.soak(100)
def test_a_kill_during_removals_takes_whole_images_only(new_daemon: StartDaemon, rounds: int) -> None:
    archive = seed.archive()

    def remove_all(client: Client) -> None:
        for name in sorted(WHOLE):
            client.delete(f"/images/{name}")

    daemon = new_daemon("killed-removal")
    for turn in range(rounds):
        assert daemon.client().post("/images/load", archive).status == 200
        kill_during(daemon, remove_all, random.Random(turn).uniform(0, LONGEST))
        daemon = new_daemon("killed-removal")
        left = check_whole(daemon)
        gone = sorted(WHOLE - left)
        assert gone == sorted(WHOLE)[: len(gone)]


@pytest.mark.soak(200)
def test_a_kill_during_commits_leaves_whole_images_only(new_daemon: StartDaemon, rounds: int) -> None:
    daemon = new_daemon("killed-commit")
    client = daemon.client()
    client.post("/images/create?fromSrc=-&repo=base", busybox_tar())
    body = {"Image": "base", "Cmd": ["sh"], "HostConfig": {"NetworkMode": "none"}}
    container = client.post("/containers/create?name=changed", body).json["Id"]
    change = io.BytesIO()
    with tarfile.open(fileobj=change, mode="w") as archive:
        for number in range(200):
            archive.addfile(tarfile.TarInfo(f"d{number % 7}/{number}"))
    assert client.request("PUT", f"/containers/{container}/archive?path=/", change.getvalue()).status == 200

    def commit_often(client: Client) -> None:
        for number in range(1000):
            client.post(f"/commit?container=changed&repo=made&tag={number}", {})

    for turn in range(rounds // 2):
        kill_during(daemon, commit_often, random.Random(turn).uniform(0, LONGEST))
        daemon = new_daemon("killed-commit")
        client = daemon.client()
        made = check_whole(daemon) - {"base:latest"}
        assert made == {f"made:{number}" for number in range(len(made))}
        assert {"Path": "/d0", "Kind": 1} in client.get(f"/containers/{container}/changes").json
        for name in made:
            assert client.delete(f"/images/{name}").status == 200
    assert client.post("/commit?container=changed&repo=made&tag=last", {}).status == 201


def test_nothing_of_the_page_is_lost_by_a_restart(new_daemon: StartDaemon) -> None:
    daemon = new_daemon("restarted")
    daemon.client().post("/images/load", seed.archive())
    before = daemon.client().get("/images/json?all=1").json
    daemon.stop()
    assert new_daemon("restarted").client().get("/images/json?all=1").json == before
