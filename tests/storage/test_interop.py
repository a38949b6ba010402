"""Other tools write archives that we load, and read archives and stores that we write, digest for digest."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from minidock.formats.digest import digest_of
from minidock.paths import Paths
from minidock.storage import hostbox
from minidock.storage.images import Image, ImageStore
from minidock.storage.load import load
from minidock.storage.save import save


def run(*command: str, **options: object) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, **options)  # type: ignore[call-overload]
    assert answer.returncode == 0, answer.stderr
    return str(answer.stdout)


@pytest.fixture
def image(store: ImageStore) -> Image:
    return hostbox.ensure(store, busybox=(path for path in hostbox.BUSYBOX_PATHS))


@pytest.fixture
def archive(store: ImageStore, image: Image, tmp_path: Path) -> Path:
    """What `docker save hostbox` would give."""
    path = tmp_path / "saved.tar"
    with open(path, "wb") as file:
        save(store, ["hostbox"], file)
    return path


@pytest.fixture
def other(tmp_path: Path) -> ImageStore:
    """A second, empty store."""
    return ImageStore(Paths(str(tmp_path / "other"), str(tmp_path / "run")))


def load_file(store: ImageStore, path: Path) -> list[str]:
    with open(path, "rb") as file:
        return load(store, file)


@pytest.mark.oracle("skopeo")
def test_skopeo_reads_the_store_where_it_lies(store: ImageStore, image: Image, paths: Paths) -> None:
    found = json.loads(run("skopeo", "inspect", f"oci:{paths.images}:hostbox:latest"))
    manifest = store.manifests(image.id)[0]
    assert found["Digest"] == manifest.digest
    assert found["Layers"] == list(image.chain_ids)  # one plain layer: digest, DiffID and ChainID are one
    raw = run("skopeo", "inspect", "--raw", "--config", f"oci:{paths.images}:hostbox:latest")
    assert json.loads(raw)["rootfs"]["diff_ids"] == image.config.rootfs.diff_ids


@pytest.mark.oracle("skopeo")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_skopeo_copies_there_and_back(
    archive: Path, image: Image, other: ImageStore, tmp_path: Path, form: str
) -> None:
    target = tmp_path / "copied.tar"
    name = "docker.io/library/copied:2"
    run("skopeo", "copy", f"docker-archive:{archive}:hostbox:latest", f"{form}:{target}:{name}")
    assert load_file(other, target) == ["copied:2"]
    copied = other.resolve("copied:2")
    assert copied.chain_ids == image.chain_ids
    assert copied.config.execution == image.config.execution
    if form == "docker-archive":
        assert copied.id == image.id


@pytest.mark.oracle("skopeo")
def test_skopeo_keeps_the_digests_of_our_oci_layout(
    store: ImageStore, archive: Path, image: Image, other: ImageStore, tmp_path: Path
) -> None:
    target = f"oci-archive:{tmp_path / 'c.tar'}:reg.example/c:1"
    run("skopeo", "copy", "--preserve-digests", f"oci-archive:{archive}:latest", target)
    assert load_file(other, tmp_path / "c.tar") == ["reg.example/c:1"]
    assert other.resolve("reg.example/c:1").id == image.id
    assert other.manifests(image.id)[0].digest == store.manifests(image.id)[0].digest


@pytest.mark.oracle("skopeo")
def test_skopeo_finds_the_images_for_other_machines_in_store_and_archive(
    store: ImageStore, archive: Path, image: Image, paths: Paths, other: ImageStore, tmp_path: Path
) -> None:
    """An index of two platforms, made from ours by hand, goes through load, store and save."""
    layout = tmp_path / "layout"
    run("skopeo", "copy", f"oci:{paths.images}:hostbox:latest", f"oci:{layout}:one")
    own = json.loads((layout / "index.json").read_text())["manifests"][0]
    config_path = _blob(layout, json.loads(_blob(layout, own["digest"]).read_text())["config"]["digest"])
    foreign = json.loads(_blob(layout, own["digest"]).read_text())
    foreign["config"] |= _write(layout, json.loads(config_path.read_text()) | {"architecture": "s390x"})
    manifests = [
        {**own, "platform": {"architecture": image.architecture, "os": "linux"}, "annotations": {}},
        {
            "mediaType": own["mediaType"],
            **_write(layout, foreign),
            "platform": {"architecture": "s390x", "os": "linux"},
        },
    ]
    kind = "application/vnd.oci.image.index.v1+json"
    index = _write(layout, {"schemaVersion": 2, "mediaType": kind, "manifests": manifests})
    named = {"mediaType": kind, **index, "annotations": {"org.opencontainers.image.ref.name": "several:1"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    run("tar", "-C", str(layout), "-cf", f"{tmp_path}/several.tar", "oci-layout", "index.json", "blobs")
    assert load_file(other, tmp_path / "several.tar") == ["several:1"]
    assert other.resolve("several:1").id == f"sha256:{config_path.name}"
    with open(tmp_path / "again.tar", "wb") as file:
        save(other, ["several:1"], file)
    for source in (f"oci:{tmp_path}/other/images:several:1", f"oci-archive:{tmp_path}/again.tar"):
        copy = tmp_path / f"copy-{source.partition(':')[0]}"
        run("skopeo", "copy", "--all", "--preserve-digests", source, f"oci:{copy}:c")
        assert json.loads((copy / "index.json").read_text())["manifests"][0]["digest"] == index["digest"]
        assert sorted(os.listdir(copy / "blobs/sha256")) == sorted(os.listdir(layout / "blobs/sha256"))
        found = json.loads(run("skopeo", "inspect", "--override-arch", "s390x", source))
        assert found["Architecture"] == "s390x"


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest[7:]


def _write(layout: Path, document: object) -> dict[str, object]:
    data = json.dumps(document).encode()
    digest = digest_of(data)
    _blob(layout, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


@pytest.mark.oracle("umoci")
def test_umoci_unpacks_our_store_and_we_load_what_it_changed(
    image: Image, paths: Paths, other: ImageStore, tmp_path: Path
) -> None:
    layout = f"{tmp_path}/layout"
    run("cp", "-a", paths.images, layout)
    index = Path(layout, "index.json")
    document = json.loads(index.read_text())
    document["manifests"][0]["annotations"] = {
        "org.opencontainers.image.ref.name": "mine"
    }  # no colon, for umoci
    index.write_text(json.dumps(document))
    bundle = tmp_path / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:mine", str(bundle))
    (bundle / "rootfs/etc/new").write_text("new")
    (bundle / "rootfs/etc/profile").unlink()
    run("umoci", "repack", "--image", f"{layout}:changed", str(bundle))
    index.write_text(index.read_text().replace('"changed"', '"reg.example/changed:1"'))
    run("tar", "-C", layout, "-cf", f"{tmp_path}/umoci.tar", "oci-layout", "index.json", "blobs")
    assert "reg.example/changed:1" in load_file(other, tmp_path / "umoci.tar")
    changed = other.resolve("reg.example/changed:1")
    assert len(changed.chain_ids) == 2
    mount = other.layers.overlay(changed.chain_ids)
    etc = os.open("etc", os.O_RDONLY, dir_fd=mount)
    assert set(os.listdir(etc)) >= {"new", "passwd"}
    assert "profile" not in os.listdir(etc)
    os.close(etc)
    os.close(mount)


@pytest.mark.oracle("podman")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_loads_ours_and_we_load_podmans(
    archive: Path, image: Image, other: ImageStore, tmp_path: Path, form: str
) -> None:
    with tempfile.TemporaryDirectory() as short:  # podman allows 50 characters
        podman = ("podman", "--root", f"{short}/r", "--runroot", f"{short}/rr", "--storage-driver=vfs")
        run(*podman, "load", "-i", str(archive))
        run(*podman, "save", "--format", form, "-o", f"{tmp_path}/p.tar", "docker.io/library/hostbox:latest")
        run(*podman, "rmi", "--all")
    assert load_file(other, tmp_path / "p.tar") == ["hostbox:latest"]
    loaded = other.resolve("hostbox")
    assert loaded.chain_ids == image.chain_ids
    assert loaded.config.execution.cmd == image.config.execution.cmd


@pytest.mark.oracle("dockerd", "docker")
def test_dockerd_loads_ours_and_we_load_dockerds(
    archive: Path, image: Image, other: ImageStore, tmp_path: Path, dockerd: str
) -> None:
    environment = {**os.environ, "DOCKER_HOST": dockerd}
    assert "hostbox:latest" in run("docker", "load", "-i", str(archive), env=environment)
    found = json.loads(run("docker", "inspect", "hostbox", env=environment))[0]
    assert (found["Id"], found["RootFS"]["Layers"]) == (image.id, list(image.chain_ids))
    assert found["Size"] == image.size
    run("docker", "save", "-o", f"{tmp_path}/d.tar", "hostbox", env=environment)
    assert load_file(other, tmp_path / "d.tar") == ["hostbox:latest"]
    assert other.resolve("hostbox").id == image.id
    assert other.resolve("hostbox").chain_ids == image.chain_ids
