"""Write images to one tar, as `docker save` does since version 25: an OCI layout that is also Docker's older
form.

Three descriptions of the same blobs stand in it: `index.json` for OCI tools, `manifest.json` for Docker and
podman of any age, `repositories` for the oldest. All times are 0 and the order is fixed, so the same images
give the same bytes. Blobs go out as they came in: every digest survives. moby image/tarexport/save.go.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Protocol

from minidock.errors import NotFound
from minidock.formats.digest import Digest, encoded, is_digest
from minidock.formats.image import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    OCI_INDEX,
    Descriptor,
    Index,
    encode,
    parse_manifest,
)
from minidock.formats.reference import Reference, parse_reference
from minidock.formats.tarheader import BLOCK, DIRECTORY, Entry, encode_entry, padding
from minidock.storage.content import LAYOUT
from minidock.storage.images import ImageStore

CHUNK = 1 << 20


class Writable(Protocol):
    """All that a sink of bytes has to offer; `write` takes all of `data`."""

    def write(self, data: bytes, /) -> object: ...


def save(store: ImageStore, references: Iterable[str], sink: Writable) -> list[str]:
    """Write the images that users mean by `references` and return their IDs; a repository without a tag
    means all its tags, an index all that came with it.

    Nothing is written if one does not exist (NotFound).
    """
    names: dict[str, list[Reference]] = {}
    for text in references:
        for image_id, tag in _meant(store, text):
            tags = names.setdefault(image_id, [])
            if tag is not None and tag not in tags:
                tags.append(tag)
    with store.work() as pin:
        descriptors: list[Descriptor] = []
        items: list[dict[str, object]] = []
        needed: set[Digest] = set()
        for image_id, tags in names.items():
            packing = store.manifests(image_id)[0]
            manifest = parse_manifest(store.blobs.read(packing.digest), packing.media_type)
            index, belonging = store.index(packing) or (packing, frozenset())
            own = {packing.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
            for digest in own | belonging:
                if not store.blobs.has(digest, pin):
                    raise NotFound(f"blob {digest} of image {image_id} not found")
            needed |= own | belonging
            descriptors += _descriptors(index, tags)
            items.append(
                {
                    "Config": _member(manifest.config.digest),
                    "RepoTags": [tag.familiar for tag in tags] or None,
                    "Layers": [_member(layer.digest) for layer in manifest.layers],
                    **({"Parent": parent} if (parent := store.image(image_id).parent) in names else {}),
                }
            )
        _write(store, sink, sorted(needed), descriptors, items, _repositories(names))
    return list(names)


def _meant(store: ImageStore, text: str) -> Iterator[tuple[str, Reference | None]]:
    """Find the images that `text` means, each with the tag to save it under: none if it was asked for by
    ID or digest."""
    named = None if is_digest(f"sha256:{text.removeprefix('sha256:')}") else parse_reference(text)
    if named is not None and not named.tag and not named.digest:
        found = False
        for image in store.images():
            for tag in map(parse_reference, image.references):
                if tag.name == named.name:
                    found = True
                    yield image.id, tag
        if found:
            return
    image = store.resolve(text)
    is_name = named is not None and not named.digest and named.familiar in image.references
    yield image.id, named if is_name else None


def _descriptors(packing: Descriptor, tags: list[Reference]) -> list[Descriptor]:
    plain = Descriptor(packing.media_type, packing.digest, packing.size)
    named = [
        Descriptor(
            packing.media_type,
            packing.digest,
            packing.size,
            annotations={ANNOTATION_IMAGE_NAME: str(tag), ANNOTATION_REF_NAME: tag.tag or ""},
        )
        for tag in tags
    ]
    return named or [plain]


def _repositories(names: dict[str, list[Reference]]) -> dict[str, dict[str, str]]:
    repositories: dict[str, dict[str, str]] = {}
    for image_id, tags in names.items():
        for tag in tags:
            repositories.setdefault(tag.familiar_name, {})[tag.tag or ""] = encoded(image_id)
    return repositories


def _write(
    store: ImageStore,
    sink: Writable,
    blobs: list[Digest],
    descriptors: list[Descriptor],
    items: list[dict[str, object]],
    repositories: dict[str, dict[str, str]],
) -> None:
    for directory in ("blobs/", "blobs/sha256/"):
        sink.write(encode_entry(Entry(directory, DIRECTORY, 0o755)))
    for digest in blobs:
        _write_blob(store, sink, digest)
    _write_file(sink, "index.json", encode(Index(media_type=OCI_INDEX, manifests=descriptors)))
    _write_file(sink, "manifest.json", json.dumps(items, separators=(",", ":")).encode())
    _write_file(sink, "oci-layout", LAYOUT)
    if repositories:
        _write_file(sink, "repositories", json.dumps(repositories, separators=(",", ":")).encode())
    sink.write(bytes(2 * BLOCK))


def _write_blob(store: ImageStore, sink: Writable, digest: Digest) -> None:
    size = store.blobs.size(digest)
    sink.write(encode_entry(Entry(_member(digest), size=size)))
    with store.blobs.open(digest) as file:
        while data := file.read(CHUNK):
            sink.write(data)
    sink.write(bytes(padding(size)))


def _write_file(sink: Writable, name: str, data: bytes) -> None:
    sink.write(encode_entry(Entry(name, size=len(data))) + data + bytes(padding(len(data))))


def _member(digest: Digest) -> str:
    return f"blobs/sha256/{encoded(digest)}"
