"""What `docker save` wrote in 2014: a directory for each layer, named by its ID, with `json` and `layer.tar`.

Then every layer was an image, known by a random number, and pointed to its parent. Here an image is known by
the digest of its config; so each old document becomes a config that lists all layers down to the root, as
Docker 1.10 did when it migrated, and the old ID is kept beside it as one more way to call the image. moby
image/spec/v1.md ("Combined Image JSON + Filesystem Changeset Format").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from minidock.errors import InvalidParameter
from minidock.formats.digest import DiffID, Digest, HashingReader
from minidock.formats.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    decode,
    encode,
    host_platform,
    parse_config,
)
from minidock.formats.reference import parse_reference
from minidock.storage.compression import GZIP, MAGIC_LENGTH, PLAIN, ZSTD, decompressed, detect
from minidock.storage.content import Blob, BlobStore
from minidock.storage.images import NewImage
from minidock.storage.pins import Pin
from minidock.storage.unpacking import LAYERS_MAX

IMAGES_MAX = 5_000
DOCUMENTS_SIZE_MAX = 32 << 20  # all of them are in memory at once
SUFFIXES = {PLAIN: "", GZIP: "+gzip", ZSTD: "+zstd"}
CHUNK = 1 << 20
# Members of the old document that say nothing about the image itself.
DROPPED = ("id", "parent", "Size", "size", "parent_id", "layer_id", "throwaway", "checksum")
_identifier = re.compile(r"\A[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class _Old:
    """One image of the archive: its document and its one layer."""

    document: dict[str, Any]
    parent: str
    layer: Descriptor
    diff_id: DiffID


@dataclass(frozen=True)
class _Converted:
    image: NewImage
    image_id: Digest
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[DiffID, ...]
    history: tuple[dict[str, Any], ...]


class LegacyArchive:
    """The members of one archive, by name; blobs are held by `pin`."""

    def __init__(self, blobs: BlobStore, pin: Pin, members: Mapping[str, Blob]) -> None:
        self._blobs = blobs
        self._pin = pin
        self._members = members

    def images(self) -> list[NewImage]:
        """Return all images of the archive, parents before their children.

        Raises InvalidParameter for a missing parent, a cycle, or documents that are none.
        """
        old = {name: self._read(name) for name in self._identifiers()}
        if not old:
            raise InvalidParameter(
                "not an image archive: it has neither manifest.json nor index.json nor layers of 2014"
            )
        names = self._names(old)
        converted: dict[str, _Converted] = {}
        for identifier in old:
            for each in _lineage(old, identifier, converted):
                parent = converted.get(old[each].parent)
                converted[each] = self._convert(each, old[each], parent, names.get(each, ()))
        return [each.image for each in converted.values()]

    def _identifiers(self) -> list[str]:
        found = [name.removesuffix("/json") for name in self._members if name.endswith("/json")]
        if len(found) > IMAGES_MAX:
            raise InvalidParameter(f"image archive refused: it has more than {IMAGES_MAX} images")
        if sum(self._members[f"{name}/json"].size for name in found) > DOCUMENTS_SIZE_MAX:
            raise InvalidParameter("image archive refused: its documents are too large")
        for name in found:
            if not _identifier.match(name):
                raise InvalidParameter(f"invalid image archive: {name!r} is no ID of an image")
        return sorted(found)

    def _read(self, identifier: str) -> _Old:
        document = self._document(f"{identifier}/json")
        parent = document.get("parent") or ""
        if document.get("id", identifier) != identifier or not isinstance(parent, str):
            raise InvalidParameter(f"invalid image archive: {identifier}/json describes another image")
        layer = self._member(f"{identifier}/layer.tar")
        with self._blobs.open(layer.digest) as file:
            compression = detect(file.read(MAGIC_LENGTH))
        if compression not in SUFFIXES:
            raise InvalidParameter(f"layer of {identifier} is compressed with {compression}")
        diff_id = layer.digest
        if compression != PLAIN:
            with self._blobs.open(layer.digest) as file:
                reader = HashingReader(decompressed(file)[0])
                while reader.read(CHUNK):
                    pass
            diff_id = reader.digest
        descriptor = Descriptor(OCI_LAYER + SUFFIXES[compression], layer.digest, layer.size)
        return _Old(document, parent, descriptor, diff_id)

    def _convert(
        self, identifier: str, old: _Old, parent: _Converted | None, names: tuple[str, ...]
    ) -> _Converted:
        """Write the config and the manifest of one image."""
        layers = (*(parent.layers if parent else ()), old.layer)
        diff_ids = (*(parent.diff_ids if parent else ()), old.diff_id)
        history = (*(parent.history if parent else ()), _step(old.document))
        if len(layers) > LAYERS_MAX:
            raise InvalidParameter(
                f"image {identifier} has more than {LAYERS_MAX} layers: no more can be mounted"
            )
        host = host_platform()
        kept = {key: value for key, value in old.document.items() if key not in DROPPED}
        document = {
            **kept,
            "architecture": kept.get("architecture") or host.architecture,
            "os": kept.get("os") or host.os,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        }
        data = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
        parse_config(data)  # it must be one
        config = self._blobs.add(data, self._pin)
        manifest = Manifest(
            media_type=OCI_MANIFEST,
            config=Descriptor(OCI_CONFIG, config.digest, config.size),
            layers=list(layers),
        )
        blob = self._blobs.add(encode(manifest), self._pin)
        descriptor = Descriptor(OCI_MANIFEST, blob.digest, blob.size)
        image = NewImage(descriptor, names, parent.image_id if parent else "", identifier)
        return _Converted(image, config.digest, layers, diff_ids, history)

    def _names(self, old: Mapping[str, _Old]) -> dict[str, tuple[str, ...]]:
        """Read `repositories`: the full references of each ID."""
        if "repositories" not in self._members:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for repository, tags in self._document("repositories").items():
            for tag, identifier in tags.items() if isinstance(tags, dict) else ():
                if identifier not in old:
                    raise InvalidParameter(
                        f"invalid image archive: {repository}:{tag} names {identifier}, which is not in it"
                    )
                name = str(parse_reference(f"{repository}:{tag}"))
                found[identifier] = (*found.get(identifier, ()), name)
        return found

    def _document(self, name: str) -> dict[str, Any]:
        blob = self._member(name)
        return decode(self._blobs.read(blob.digest), dict[str, Any], f"{name} in image archive")

    def _member(self, name: str) -> Blob:
        try:
            return self._members[name]
        except KeyError:
            raise InvalidParameter(f"invalid image archive: member {name!r} is missing") from None


def _lineage(old: Mapping[str, _Old], identifier: str, done: Mapping[str, _Converted]) -> list[str]:
    """Return an image and those of its ancestors that are not `done`, the oldest first."""
    chain: list[str] = []
    while identifier and identifier not in done:
        if identifier not in old:
            raise InvalidParameter(f"invalid image archive: the parent {identifier} is not in it")
        if identifier in chain:
            raise InvalidParameter(f"invalid image archive: image {identifier} is its own ancestor")
        chain.append(identifier)
        identifier = old[identifier].parent
    return chain[::-1]


def _step(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the history says of an image: the command of the container it was committed from."""
    container = document.get("container_config")
    command = (container.get("Cmd") if isinstance(container, dict) else None) or []
    words = (
        " ".join(command) if isinstance(command, list) and all(isinstance(w, str) for w in command) else ""
    )
    told = {
        "created": document.get("created"),
        "author": document.get("author"),
        "created_by": words,
        "comment": document.get("comment"),
    }
    return {key: value for key, value in told.items() if isinstance(value, str) and value}
