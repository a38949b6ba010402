"""The two files that say which images there are: `index.json`, the truth, and `repositories.json`, the same
names for people.

One file holds both the images and their names, so that every change is one rename: after a crash the old or
the new state is there, never a moved tag without its image. `repositories.json` has the shape that Docker
has used since 2013, is derived from the index at every change, and is what the names come back from if the
index is ever damaged; the images then come back from the blobs themselves. OCI image-spec, image-layout.md
("index.json file"); annotations as containerd and Docker write them.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from minidock.atomic import to_json, write_durable
from minidock.errors import MinidockError
from minidock.formats.digest import Digest, is_digest
from minidock.formats.image import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    OCI_INDEX,
    Descriptor,
    Index,
    Manifest,
    encode,
    parse_document,
)
from minidock.formats.reference import Reference, parse_reference
from minidock.storage.content import LAYOUT, BlobStore
from minidock.storage.platforms import belongings, choose

INDEX = "index.json"
REPOSITORIES = "repositories.json"
LAYOUT_FILE = "oci-layout"
# The image that this one was committed or built from: no OCI document has room for it.
ANNOTATION_PARENT = "io.minidock.parent"
# What an archive of 2014 called the image: 64 digits that were no digest of anything.
ANNOTATION_OLD_ID = "io.minidock.id-of-2014"
# When the image was last given a name here, RFC 3339.
ANNOTATION_LAST_TAG_TIME = "io.minidock.last-tag-time"
# On an index: which of its manifests is the image here, and stands beside it.
ANNOTATION_MANIFEST = "io.minidock.manifest"


@dataclass(frozen=True)
class Catalogue:
    """What the index says.

    `manifests` (an image may have several), the `parents`, `old_ids` and `last_tag_times` of images by
    manifest digest, `names`: the manifest digest of each full reference, and `indexes`: of manifests that
    came in one.
    """

    manifests: list[Descriptor] = field(default_factory=list)
    parents: dict[Digest, str] = field(default_factory=dict)
    names: dict[str, Digest] = field(default_factory=dict)
    old_ids: dict[Digest, str] = field(default_factory=dict)
    indexes: dict[Digest, Descriptor] = field(default_factory=dict)
    last_tag_times: dict[Digest, str] = field(default_factory=dict)


def write_catalogue(root: str, catalogue: Catalogue, images: Mapping[str, str]) -> None:
    """Write both files durably; `images` gives the image ID of each full reference."""
    names: dict[Digest, list[str]] = {}
    for name, digest in sorted(catalogue.names.items()):
        names.setdefault(digest, []).append(name)
    descriptors = []
    for manifest in catalogue.manifests:
        parent, old_id = catalogue.parents.get(manifest.digest), catalogue.old_ids.get(manifest.digest)
        always = {ANNOTATION_PARENT: parent} if parent else {}
        always |= {ANNOTATION_OLD_ID: old_id} if old_id else {}
        if manifest.digest in catalogue.last_tag_times:
            always |= {ANNOTATION_LAST_TAG_TIME: catalogue.last_tag_times[manifest.digest]}
        shown = manifest
        if manifest.digest in catalogue.indexes:  # others mean the whole index by the name
            descriptors.append(msgspec.structs.replace(manifest, annotations=always or None))
            shown, always = catalogue.indexes[manifest.digest], {ANNOTATION_MANIFEST: manifest.digest}
        for name in names.get(manifest.digest, [""]):
            named = (
                {ANNOTATION_IMAGE_NAME: name, ANNOTATION_REF_NAME: parse_reference(name).familiar}
                if name
                else {}
            )
            annotations = {**named, **always} or None
            descriptors.append(msgspec.structs.replace(shown, annotations=annotations))
    index = Index(media_type=OCI_INDEX, manifests=descriptors)
    write_durable(os.path.join(root, INDEX), encode(index), mode=0o644)
    write_durable(os.path.join(root, REPOSITORIES), repositories_document(images), mode=0o644)


def is_written(root: str, images: Mapping[str, str]) -> bool:
    """Tell whether there is an index, and the derived file is what it should be."""
    try:
        with open(os.path.join(root, REPOSITORIES), "rb") as file:
            return file.read() == repositories_document(images) and os.path.exists(os.path.join(root, INDEX))
    except OSError:
        return False


def repositories_document(images: Mapping[str, str]) -> bytes:
    """Return `{"Repositories": {"ubuntu": {"12.04": "sha256:..."}}}` for full references and image IDs; a
    digest stands like a tag."""
    repositories: dict[str, dict[str, str]] = {}
    for name, image in sorted(images.items()):
        reference = parse_reference(name)
        repositories.setdefault(reference.familiar_name, {})[reference.digest or reference.tag or ""] = image
    return to_json({"Repositories": repositories})


def read_catalogue(root: str, blobs: BlobStore, problems: list[str]) -> Catalogue:
    """Read the index; make the layout if there is none, and rebuild the index if it is damaged (saying so
    in `problems`)."""
    layout = os.path.join(root, LAYOUT_FILE)
    if not os.path.exists(layout):
        write_durable(layout, LAYOUT, mode=0o644)
    path = os.path.join(root, INDEX)
    try:
        with open(path, "rb") as file:
            index = msgspec.json.decode(file.read(), type=Index)
    except FileNotFoundError:
        return _rebuilt(root, blobs, problems) if blobs.digests() else Catalogue()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        aside = f"{path}.damaged-{secrets.token_hex(4)}"
        os.rename(path, aside)
        problems.append(
            f"damaged {path} set aside as {aside} ({error}); the list of images was rebuilt from the blobs"
        )
        return _rebuilt(root, blobs, problems)
    return _catalogue(index, problems)


def _catalogue(index: Index, problems: list[str]) -> Catalogue:
    catalogue = Catalogue()
    seen: set[Digest] = set()
    for descriptor in index.manifests:
        annotations = descriptor.annotations or {}
        plain = msgspec.structs.replace(descriptor, annotations=None)
        manifest = annotations.get(ANNOTATION_MANIFEST, descriptor.digest)
        if manifest != descriptor.digest:
            catalogue.indexes[manifest] = plain
        elif descriptor.digest not in seen:
            seen.add(descriptor.digest)
            catalogue.manifests.append(plain)
        if ANNOTATION_PARENT in annotations:
            catalogue.parents[descriptor.digest] = annotations[ANNOTATION_PARENT]
        if ANNOTATION_OLD_ID in annotations:
            catalogue.old_ids[descriptor.digest] = annotations[ANNOTATION_OLD_ID]
        if ANNOTATION_LAST_TAG_TIME in annotations:
            catalogue.last_tag_times[descriptor.digest] = annotations[ANNOTATION_LAST_TAG_TIME]
        name = annotations.get(ANNOTATION_IMAGE_NAME)
        if name:
            try:
                catalogue.names[str(parse_reference(name))] = manifest
            except MinidockError as error:
                problems.append(f"name {name!r} in the index of images ignored: {error}")
    return catalogue


def _rebuilt(root: str, blobs: BlobStore, problems: list[str]) -> Catalogue:
    """Find every manifest among the blobs whose config and layers are here, and their names in
    repositories.json; of an index only the manifest for this machine."""
    catalogue = Catalogue()
    images: dict[Digest, Digest] = {}  # config -> manifest
    documents = {
        digest: document
        for digest in sorted(blobs.digests())
        if (document := _document_in(blobs, digest)) is not None
    }
    others: set[Digest] = set()
    for digest, document in documents.items():
        if isinstance(document, Index):
            index = Descriptor(document.media_type, digest, blobs.size(digest))
            try:
                chosen = choose(blobs, index).digest
            except MinidockError:
                continue
            catalogue.indexes[chosen] = index
            others |= belongings(blobs, index) - {chosen}
    for digest, document in documents.items():
        if isinstance(document, Manifest) and digest not in others:
            images[document.config.digest] = digest
            catalogue.manifests.append(Descriptor(document.media_type, digest, blobs.size(digest)))
    for reference, image in _names_for_people(root, problems):
        if image in images:
            catalogue.names[str(reference)] = images[image]
    return catalogue


def _document_in(blobs: BlobStore, digest: Digest) -> Manifest | Index | None:
    """Return the index, or the manifest of which all blobs are here, that a blob is."""
    with blobs.open(digest) as file:
        if file.read(1) != b"{":
            return None
    try:
        document = parse_document(blobs.read(digest))
    except MinidockError:
        return None
    if isinstance(document, Index):
        return document
    needed = [document.config, *document.layers]
    return document if all(blobs.has(each.digest) for each in needed) else None


def _names_for_people(root: str, problems: list[str]) -> list[tuple[Reference, str]]:
    path = os.path.join(root, REPOSITORIES)
    try:
        with open(path, "rb") as file:
            repositories = json.load(file)["Repositories"]
        return [
            (parse_reference(f"{name}@{tag}" if is_digest(tag) else f"{name}:{tag}"), image)
            for name, tags in repositories.items()
            for tag, image in tags.items()
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, AttributeError, TypeError, MinidockError) as error:
        problems.append(f"damaged {path}: the images have lost their names ({error})")
        return []
