"""The images of the measurements have the size and form that the rows promise."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from bench import images


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image") / "big.tar"
    images.big(target)
    return target


def layer_entries(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][0])) as layer:
            return layer.getmembers()


def test_the_big_image_has_the_promised_size_and_number_of_entries(big: Path) -> None:
    entries = layer_entries(big)
    assert len(entries) == images.BIG_ENTRIES
    assert sum(entry.size for entry in entries) == images.BIG_SIZE


def test_the_same_image_is_made_each_time(big: Path, tmp_path: Path) -> None:
    images.big(tmp_path / "again.tar")

    def digest(path: Path) -> str:
        return json.dumps([(entry.name, entry.size) for entry in layer_entries(path)])

    assert digest(tmp_path / "again.tar") == digest(big)


def test_the_config_names_the_layer_by_its_digest(tmp_path: Path) -> None:
    images.small(tmp_path / "small.tar")
    with tarfile.open(tmp_path / "small.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        config = archive.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        layer = archive.extractfile(manifest["Layers"][0]).read()  # type: ignore[union-attr]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
