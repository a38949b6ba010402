"""`load` and `save`: round trips, every form of archive, and archives that lie."""

import gzip
import io
import json
import os
import random
import tarfile
from collections.abc import Callable

import pytest

from minidock.errors import DigestMismatch, InvalidParameter, MinidockError, NotFound
from minidock.formats.digest import digest_of
from minidock.formats.image import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    ImageConfig,
    RootFS,
    encode,
    host_platform,
)
from minidock.paths import Paths
from minidock.storage import layers
from minidock.storage.images import Image, ImageStore
from minidock.storage.load import import_root, load
from minidock.storage.save import save
from minidock.storage.trees import remove_tree

Make = Callable[..., tuple[tarfile.TarInfo, bytes]]
Tar = Callable[..., bytes]
Members = dict[str, bytes]


class Pipe:
    """A stream that can only be read forward, in uneven pieces."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._random = random.Random(1)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._random.randint(1, 5000)))


def saved(store: ImageStore, *references: str) -> bytes:
    sink = io.BytesIO()
    save(store, references, sink)
    return sink.getvalue()


def members_of(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}  # type: ignore[union-attr]


def config_of(*layers: bytes, cmd: str = "sh") -> bytes:
    rootfs = RootFS("layers", [digest_of(layer) for layer in layers])
    return encode(ImageConfig("amd64", "linux", rootfs, author=cmd))


def descriptor(media_type: str, data: bytes, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def blob(data: bytes) -> tuple[str, bytes]:
    return f"blobs/sha256/{digest_of(data)[7:]}", data


@pytest.fixture
def layer(tar: Tar, member: Make) -> bytes:
    return tar([member("bin/sh", b"#!", mode=0o755), member("etc/x", b"1")])


@pytest.fixture
def pack(tar: Tar, member: Make) -> Callable[[Members], bytes]:
    return lambda members: tar([member(name, data) for name, data in members.items()])


@pytest.fixture
def oci(layer: bytes) -> Members:
    """An OCI archive of one image, called app:1."""
    config, packed = config_of(layer), gzip.compress(layer, mtime=0)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, config),
            "layers": [descriptor(OCI_LAYER + "+gzip", packed)],
        }
    ).encode()
    named = descriptor(
        OCI_MANIFEST, manifest, annotations={"io.containerd.image.name": "docker.io/library/app:1"}
    )
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}).encode()
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index,
        **dict(map(blob, (config, packed, manifest))),
    }


@pytest.fixture
def docker(layer: bytes) -> Members:
    """An archive in Docker's older form, called app:1 and more/app:2."""
    config = config_of(layer)
    name = f"{digest_of(config)[7:]}.json"
    item = {"Config": name, "RepoTags": ["app:1", "more/app:2"], "Layers": ["abc/layer.tar"]}
    return {
        name: config,
        "abc/VERSION": b"1.0",
        "abc/json": b"{}",
        "abc/layer.tar": layer,
        "manifest.json": json.dumps([item]).encode(),
    }


def assert_empty(store: ImageStore, paths: Paths) -> None:
    assert store.images() == []
    assert os.listdir(os.path.join(paths.images, "blobs", "sha256")) == []
    assert [name for name in os.listdir(paths.layers) if name != "l"] == []


def test_saving_and_loading_keeps_every_digest(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    assert load(store, Pipe(pack(oci))) == ["app:1"]
    first = saved(store, "app:1")
    assert first == saved(store, "app:1")
    before = store.images()
    store.remove(before[0].id)
    assert_empty(store, paths)
    assert load(store, Pipe(first)) == ["app:1"]
    assert store.images() == before
    assert saved(store, "app:1") == first
    originals = {name: data for name, data in oci.items() if name.startswith("blobs/")}
    assert {name: data for name, data in members_of(first).items() if name.startswith("blobs/")} == originals


def test_dockers_older_form_is_loaded_with_all_its_names(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], layer: bytes
) -> None:
    assert load(store, Pipe(pack(docker))) == ["app:1", "more/app:2"]
    image = store.resolve("more/app:2")
    assert image.id == digest_of(config_of(layer))
    assert image.chain_ids == (digest_of(layer),)
    assert image.size == 3
    with open(os.path.join(store.layers.diff_directory(image.chain_ids[0]), "bin/sh"), "rb") as file:
        assert file.read() == b"#!"


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_whole_archive_may_be_compressed(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes], compress: Callable[[bytes], bytes]
) -> None:
    assert load(store, Pipe(compress(pack(oci)))) == ["app:1"]


def test_layers_may_be_links_to_one_another(
    store: ImageStore, docker: Members, tar: Tar, member: Make
) -> None:
    content = docker.pop("abc/layer.tar")
    members = [member(name, data) for name, data in docker.items()]
    members.append(member("abc/layer.tar", kind=tarfile.SYMTYPE, link="../def/layer.tar"))
    members.append(member("def/layer.tar", kind=tarfile.LNKTYPE, link="real.tar"))
    members.append(member("real.tar", content))
    assert load(store, io.BytesIO(tar(members))) == ["app:1", "more/app:2"]


def test_an_image_without_a_name_is_known_by_its_id(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], layer: bytes
) -> None:
    docker["manifest.json"] = docker["manifest.json"].replace(b'["app:1", "more/app:2"]', b"null")
    identifier = digest_of(config_of(layer))
    assert load(store, io.BytesIO(pack(docker))) == [identifier]
    assert saved(store, identifier[7:19]).count(b"repositories") == 0
    assert members_of(saved(store, identifier))["manifest.json"].count(b'"RepoTags":null') == 1


def test_the_image_for_this_machine_is_chosen_from_several(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes]
) -> None:
    inner = json.loads(oci["index.json"])["manifests"][0]
    annotations = inner.pop("annotations")
    host = host_platform()
    platform = {"architecture": host.architecture, "os": host.os}
    absent = descriptor(OCI_MANIFEST, b"absent", platform={"architecture": "s390x", "os": "linux"})
    attestation = {**absent, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    nested = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [absent, attestation, {**inner, "platform": platform}],
        }
    ).encode()
    oci.update([blob(nested)])
    outer = descriptor(OCI_INDEX, nested, annotations=annotations)
    oci["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode()
    assert load(store, io.BytesIO(pack(oci))) == ["app:1"]


@pytest.fixture
def several(oci: Members, tar: Tar, member: Make) -> Members:
    """An OCI archive whose image app:1 is an index: for this machine, for another one, and an attestation."""
    inner = json.loads(oci["index.json"])["manifests"][0]
    annotations = inner.pop("annotations")
    host = host_platform()
    foreign_layer = gzip.compress(tar([member("bin/sh", b"other")]), mtime=0)
    foreign_config = encode(ImageConfig("s390x", "linux", RootFS("layers", [digest_of(foreign_layer)])))
    statement, nothing = b'{"_type":"https://in-toto.io/Statement/v0.1"}', b"{}"
    foreign, attestation = (
        json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        ).encode()
        for config, layer in (
            (descriptor(OCI_CONFIG, foreign_config), descriptor(OCI_LAYER + "+gzip", foreign_layer)),
            (descriptor(OCI_CONFIG, nothing), descriptor("application/vnd.in-toto+json", statement)),
        )
    )
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                descriptor(OCI_MANIFEST, foreign, platform={"architecture": "s390x", "os": "linux"}),
                {**inner, "platform": {"architecture": host.architecture, "os": host.os}},
                descriptor(
                    OCI_MANIFEST,
                    attestation,
                    platform={"architecture": "unknown", "os": "unknown"},
                    annotations={"vnd.docker.reference.type": "attestation-manifest"},
                ),
                descriptor(OCI_MANIFEST, b"absent", platform={"architecture": "arm", "os": "linux"}),
            ],
        }
    ).encode()
    oci.update(map(blob, (foreign_layer, foreign_config, statement, nothing, foreign, attestation, index)))
    outer = descriptor(OCI_INDEX, index, annotations=annotations)
    oci["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode()
    return oci


def blobs_in(members: Members) -> Members:
    return {name: data for name, data in members.items() if name.startswith("blobs/")}


def test_images_for_other_machines_keep_every_digest(
    store: ImageStore, several: Members, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    assert load(store, Pipe(pack(several))) == ["app:1"]
    (image,) = store.images()
    assert image.architecture == host_platform().architecture
    before = members_of(saved(store, "app:1"))
    assert blobs_in(before) == blobs_in(several)
    (outer,) = json.loads(several["index.json"])["manifests"]
    (kept,) = json.loads(before["index.json"])["manifests"]
    assert (kept["mediaType"], kept["digest"], kept["size"]) == (OCI_INDEX, outer["digest"], outer["size"])
    assert store.resolve(f"app@{outer['digest']}") == image
    store.tag(image.id, "second:2")
    store = ImageStore(paths)
    assert store.problems == []
    assert members_of(saved(store, "app:1")) == before
    assert blobs_in(members_of(saved(store, "second:2"))) == blobs_in(several)
    store.remove(store.resolve("app:1").id)
    assert_empty(store, paths)


def test_an_index_of_several_machines_survives_the_loss_of_the_catalogue(
    store: ImageStore, several: Members, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    load(store, Pipe(pack(several)))
    before = store.images(), saved(store, "app:1")
    with open(os.path.join(paths.images, "index.json"), "w") as file:
        file.write("{")
    store = ImageStore(paths)
    assert (store.images(), saved(store, "app:1")) == before


@pytest.mark.parametrize("damage", [b"[" * 100_000, b'{"manifests": 1}', b"\xff"])
def test_documents_for_other_machines_may_be_anything(
    store: ImageStore, several: Members, pack: Callable[[Members], bytes], damage: bytes
) -> None:
    (outer,) = json.loads(several["index.json"])["manifests"]
    index = json.loads(several[f"blobs/sha256/{outer['digest'][7:]}"])
    index["manifests"].append(descriptor(OCI_MANIFEST, damage))
    data = json.dumps(index).encode()
    several.update(map(blob, (damage, data)))
    several["index.json"] = json.dumps(
        {"schemaVersion": 2, "manifests": [descriptor(OCI_INDEX, data, annotations=outer["annotations"])]}
    ).encode()
    several.pop(f"blobs/sha256/{outer['digest'][7:]}")
    assert load(store, Pipe(pack(several))) == ["app:1"]
    assert blobs_in(members_of(saved(store, "app:1"))) == blobs_in(several)


def test_a_loaded_name_moves_to_the_new_image(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes], tar: Tar, member: Make
) -> None:
    old = import_root(store, io.BytesIO(tar([member("old")])), "app:1")
    load(store, io.BytesIO(pack(oci)))
    assert store.resolve("app:1").id != old.id
    assert store.image(old.id).references == ()


def test_progress_tells_bytes_of_each_layer(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], layer: bytes
) -> None:
    seen: list[tuple[str, int, int]] = []
    load(store, io.BytesIO(pack(docker)), lambda name, done, total: seen.append((name, done, total)))
    assert seen[-1] == (digest_of(layer)[7:19], len(layer), len(layer))


def change_docker(members: Members, **changes: object) -> None:
    [item] = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps([{**item, **changes}]).encode()


LIES: dict[str, Callable[[Members], object]] = {
    "no manifest": lambda members: members.pop("manifest.json"),
    "manifest is no list": lambda members: members.update({"manifest.json": b"{}"}),
    "manifest is deep": lambda members: members.update({"manifest.json": b"[" * 100_000}),
    "config missing": lambda members: change_docker(members, Config="none.json"),
    "config outside": lambda members: change_docker(members, Config="../../etc/passwd"),
    "config is no config": lambda members: change_docker(members, Config="abc/VERSION"),
    "layer missing": lambda members: change_docker(members, Layers=["none"]),
    "layer count": lambda members: change_docker(members, Layers=[]),
    "layer twice": lambda members: change_docker(members, Layers=["abc/layer.tar"] * 2),
    "another layer": lambda members: members.update({"abc/layer.tar": members["abc/layer.tar"] + bytes(512)}),
    "layer is no tar": lambda members: members.update({"abc/layer.tar": b"rubbish" * 200}),
    "too many names": lambda members: change_docker(members, RepoTags=[f"a:{n}" for n in range(6000)]),
    "too many values": lambda members: members.update({"manifest.json": b"[" + b"{}," * 100_000 + b"{}]"}),
    "bad name": lambda members: change_docker(members, RepoTags=["Bad Name"]),
    "wrong digest": lambda members: members.update({"blobs/sha256/" + "0" * 64: b"x"}),
    "name is no digest": lambda members: members.update({"blobs/sha256/xyz": b"x"}),
    "name outside": lambda members: members.update({"../evil": b"x"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_archives_that_lie_are_refused_and_leave_nothing(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], paths: Paths, lie: str
) -> None:
    LIES[lie](docker)
    with pytest.raises(MinidockError):
        load(store, Pipe(pack(docker)))
    assert_empty(store, paths)


def test_sizes_and_digests_of_an_index_are_checked(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    good = oci["index.json"]
    size = json.loads(good)["manifests"][0]["size"]
    for old, fresh in ((f'"size": {size}', f'"size": {size + 1}'), (OCI_MANIFEST, OCI_INDEX)):
        bad = {**oci, "index.json": good.replace(old.encode(), fresh.encode())}
        with pytest.raises(MinidockError):
            load(store, Pipe(pack(bad)))
        assert_empty(store, paths)
    for name in list(oci):
        if name.startswith("blobs/"):
            without = {each: data for each, data in oci.items() if each != name}
            with pytest.raises(InvalidParameter, match="missing"):
                load(store, Pipe(pack(without)))
            assert_empty(store, paths)


def test_two_descriptions_must_mean_the_same(
    store: ImageStore,
    oci: Members,
    docker: Members,
    pack: Callable[[Members], bytes],
    paths: Paths,
    layer: bytes,
) -> None:
    assert load(store, Pipe(pack({**docker, **oci}))) == ["app:1", "more/app:2"]
    store.remove(store.resolve("app:1").id)
    other = config_of(layer, cmd="evil")
    change_docker(docker, Config="other.json")
    with pytest.raises(InvalidParameter, match="ambiguous archive"):
        load(store, Pipe(pack({**docker, **oci, "other.json": other})))
    assert_empty(store, paths)


def test_images_that_claim_to_be_each_others_parent_are_nobodys(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], layer: bytes
) -> None:
    [item] = json.loads(docker["manifest.json"])
    other = config_of(layer, cmd="other")
    docker["other.json"] = other
    first, second = digest_of(config_of(layer)), digest_of(other)
    docker["manifest.json"] = json.dumps(
        [{**item, "Parent": second}, {**item, "Config": "other.json", "RepoTags": ["b:1"], "Parent": first}]
    ).encode()
    load(store, Pipe(pack(docker)))
    assert [image.parent for image in store.images()] == ["", ""]
    assert not store.has_children(first)


def test_one_name_cannot_mean_two_images(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], layer: bytes
) -> None:
    [item] = json.loads(docker["manifest.json"])
    docker["other.json"] = config_of(layer, cmd="evil")
    docker["manifest.json"] = json.dumps([item, {**item, "Config": "other.json"}]).encode()
    with pytest.raises(InvalidParameter, match="two images are called app:1"):
        load(store, Pipe(pack(docker)))


def test_a_member_that_comes_twice_is_refused(
    store: ImageStore, docker: Members, tar: Tar, member: Make
) -> None:
    members = [member(name, data) for name, data in docker.items()]
    with pytest.raises(InvalidParameter, match="repeated"):
        load(store, io.BytesIO(tar([*members, member("./manifest.json", b"[]")])))


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.6, 0.9])
def test_an_archive_cut_off_anywhere_leaves_nothing(
    store: ImageStore, oci: Members, pack: Callable[[Members], bytes], paths: Paths, cut: float
) -> None:
    data = pack(oci)
    data = data[: data.rstrip(b"\0").__len__()]
    with pytest.raises(InvalidParameter):
        load(store, Pipe(data[: int(len(data) * cut)]))
    assert_empty(store, paths)


def test_saving_a_repository_saves_all_its_tags_and_each_blob_once(
    store: ImageStore, tar: Tar, member: Make
) -> None:
    image = import_root(store, io.BytesIO(tar([member("a")])), "app:1")
    store.tag(image.id, "app:2")
    store.tag(image.id, "other")
    members = members_of(saved(store, "app"))
    assert json.loads(members["manifest.json"])[0]["RepoTags"] == ["app:1", "app:2"]
    assert json.loads(members["repositories"]) == {"app": {"1": image.id[7:], "2": image.id[7:]}}
    assert len([name for name in members if name.startswith("blobs/")]) == 3
    both = members_of(saved(store, "app:1", "other", "app:1"))
    assert json.loads(both["manifest.json"])[0]["RepoTags"] == ["app:1", "other:latest"]
    for missing in ("none", "app:3"):
        with pytest.raises(NotFound):
            saved(store, missing)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_import_is_the_same_whatever_it_was_compressed_with(
    store: ImageStore, layer: bytes, compress: Callable[[bytes], bytes]
) -> None:
    image: Image = import_root(store, Pipe(compress(layer)), "root")
    assert image.chain_ids == (digest_of(layer),)


def test_a_broken_import_leaves_nothing(store: ImageStore, layer: bytes, paths: Paths) -> None:
    for data in (b"rubbish" * 500, layer[:700], gzip.compress(layer)[:-20]):
        with pytest.raises(InvalidParameter):
            import_root(store, Pipe(data), "root")
        assert_empty(store, paths)
    with pytest.raises(InvalidParameter, match="must be lowercase"):
        import_root(store, Pipe(layer), "Root")


def test_one_broken_image_keeps_its_whole_archive_out(
    store: ImageStore, docker: Members, pack: Callable[[Members], bytes], paths: Paths, tar: Tar, member: Make
) -> None:
    kept = import_root(store, io.BytesIO(tar([member("kept")])))
    store.remove(kept.id, keep_layers=kept.chain_ids)  # as a container's would be: no image names this layer
    [item] = json.loads(docker["manifest.json"])
    second = tar([member("second")])
    docker |= {"second.tar": second, "second.json": config_of(second, b"wrong")}
    docker["manifest.json"] = json.dumps(
        [item, {"Config": "second.json", "RepoTags": ["b:1"], "Layers": ["second.tar", "second.tar"]}]
    ).encode()
    with pytest.raises(MinidockError, match="DiffID"):
        load(store, Pipe(pack(docker)))
    assert store.images() == []
    assert [layer.chain_id for layer in store.layers.layers()] == list(kept.chain_ids)


@pytest.mark.parametrize("compress", [False, True])
def test_a_plain_layer_that_has_just_come_is_hashed_once(
    store: ImageStore,
    docker: Members,
    layer: bytes,
    pack: Callable[[Members], bytes],
    compress: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    real = layers.HashingReader

    class Counted(real):  # type: ignore[valid-type,misc]
        def read(self, size: int, /) -> bytes:
            read.append(size)
            return bytes(super().read(size))

    monkeypatch.setattr(layers, "HashingReader", Counted)
    docker["abc/layer.tar"] = gzip.compress(layer) if compress else layer
    load(store, io.BytesIO(pack(docker)))
    assert bool(read) == compress


def test_a_compressed_layer_whose_own_digest_is_called_its_diff_id_is_refused(
    store: ImageStore, docker: Members, layer: bytes, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    packed = gzip.compress(layer)
    config = config_of(packed)
    docker["abc/layer.tar"] = packed
    change_docker(docker, Config="lying.json")
    docker["lying.json"] = config
    with pytest.raises(DigestMismatch, match="DiffID"):
        load(store, io.BytesIO(pack(docker)))
    assert_empty(store, paths)


def test_a_blob_that_was_here_before_is_hashed_before_it_is_unpacked(
    store: ImageStore, docker: Members, layer: bytes, pack: Callable[[Members], bytes], paths: Paths
) -> None:
    (name,) = load(store, io.BytesIO(pack(docker)))[:1]
    image = store.resolve(name)
    remove_tree(os.path.join(paths.layers, image.chain_ids[0].removeprefix("sha256:")))
    with open(store.blobs.path(digest_of(layer)), "r+b") as file:
        file.seek(layer.index(b"#!"))
        file.write(b"!!")
    again = ImageStore(paths)
    assert again.images() == []
    assert any("DiffID" in problem for problem in again.problems)
