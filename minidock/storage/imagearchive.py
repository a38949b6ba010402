"""The tars in which images travel: what `docker save`, podman, skopeo and others write, brought into the
blob store.

The tar comes over a socket and cannot be read twice, and its table of contents comes last; so every member
goes into the blob store first, and only then `index.json` (an OCI layout) or `manifest.json` (Docker's own
list) says what it was. Where both are there they must mean the same images. OCI image-spec, image-layout.md;
moby image/tarexport.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from minidock.errors import InvalidParameter, MinidockError, Unsupported
from minidock.formats import tarheader
from minidock.formats.digest import Digest, Readable, is_digest
from minidock.formats.image import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    DOCUMENT_SIZE_MAX,
    INDEX_TYPES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    decode,
    encode,
    parse_index,
    parse_manifest,
)
from minidock.formats.reference import parse_reference
from minidock.storage.archive import split_name
from minidock.storage.compression import GZIP, MAGIC_LENGTH, PLAIN, ZSTD, detect
from minidock.storage.content import Blob, BlobStore
from minidock.storage.images import NewImage
from minidock.storage.legacyarchive import LegacyArchive
from minidock.storage.pins import Pin
from minidock.storage.platforms import ATTESTATION, check, choose
from minidock.storage.tarstream import TarReader

MEMBERS_MAX = 20_000
MEMBER_NAME_MAX = 512  # the longest that is written has 87 characters; all are in memory at once
NAMES_MAX = 5_000
LINKS_MAX = 8
BLOB_PREFIX = "blobs/sha256/"
LAYER_SUFFIXES = {PLAIN: "", GZIP: "+gzip", ZSTD: "+zstd"}


class DockerItem(msgspec.Struct, rename="pascal"):
    """One image in Docker's `manifest.json`: member names of its config and layers, lowest first."""

    config: str
    layers: list[str]
    repo_tags: list[str] | None = None
    parent: Annotated[str, msgspec.Meta(max_length=80)] = ""


class ImageArchive:
    """The members of one archive, in the blob store and held by a pin."""

    def __init__(self, blobs: BlobStore, pin: Pin, source: Readable) -> None:
        self._blobs = blobs
        self._pin = pin
        self._members: dict[str, Blob] = {}
        self._links: dict[str, str] = {}
        reader = TarReader(source)
        for entry in reader:
            self._take(entry, reader)

    def images(self) -> list[NewImage]:
        """Return the images that the archive describes, each once, with all its names.

        Raises InvalidParameter for an archive that is no image archive, or that describes its images in two
        ways.
        """
        by_docker = [self._docker_image(item) for item in self._docker_items()]
        if "index.json" not in self._members:
            if not by_docker:
                members = {**self._members, **{name: self._member(name) for name in self._links}}
                by_docker = LegacyArchive(self._blobs, self._pin, members).images()
            return _merged((image, self._config(image)) for image in by_docker)
        by_index = list(self._index_images())
        configs = {self._config(image): image for image in by_index}
        named = []
        for image in by_docker:
            same = configs.get(self._config(image))
            if same is None:
                raise InvalidParameter(
                    "ambiguous archive: manifest.json names an image that index.json does not"
                )
            named.append(NewImage(same.manifest, image.names, image.parent))
        return _merged((image, self._config(image)) for image in [*by_index, *named])

    def _take(self, entry: tarheader.Entry, reader: TarReader) -> None:
        if entry.type == tarheader.DIRECTORY:
            return
        name = "/".join(split_name(entry.name))
        if len(name) > MEMBER_NAME_MAX or len(entry.link) > MEMBER_NAME_MAX:
            raise InvalidParameter(f"invalid image archive: a name of more than {MEMBER_NAME_MAX} characters")
        if (
            name in self._members
            or name in self._links
            or len(self._members) + len(self._links) >= MEMBERS_MAX
        ):
            raise InvalidParameter(f"invalid image archive: member {name!r} is repeated, or one too many")
        if entry.type == tarheader.SYMLINK:
            self._links[name] = "/".join(split_name(f"{name}/../{entry.link}"))
        elif entry.type == tarheader.HARD_LINK:
            self._links[name] = "/".join(split_name(entry.link))
        elif entry.type == tarheader.REGULAR and entry.sparse is None:
            digest = f"sha256:{name.removeprefix(BLOB_PREFIX)}" if name.startswith(BLOB_PREFIX) else None
            if digest is not None and not is_digest(digest):
                raise InvalidParameter(f"invalid image archive: member {name!r} has no digest for a name")
            self._members[name] = self._blobs.ingest(reader, self._pin, digest, entry.size)
        else:
            raise InvalidParameter(f"invalid image archive: member {name!r} is not a file")

    def _member(self, name: str) -> Blob:
        """Find a member, through links (podman writes a layer once and links to it)."""
        wanted = "/".join(split_name(name))
        for _ in range(LINKS_MAX):
            if wanted in self._members:
                return self._members[wanted]
            if wanted not in self._links:
                break
            wanted = self._links[wanted]
        raise InvalidParameter(f"invalid image archive: member {name!r} is missing")

    def _config(self, image: NewImage) -> Digest:
        return parse_manifest(self._blobs.read(image.manifest.digest)).config.digest

    def _docker_items(self) -> list[DockerItem]:
        if "manifest.json" not in self._members:
            return []
        data = self._blobs.read(self._members["manifest.json"].digest)
        return decode(data, list[DockerItem], "manifest.json in image archive")

    def _docker_image(self, item: DockerItem) -> NewImage:
        """Make the manifest that Docker's list leaves out; the same archive always gives the same one."""
        config = self._member(item.config)
        layers = []
        for name in item.layers:
            blob = self._member(name)
            with self._blobs.open(blob.digest) as file:
                compression = detect(file.read(MAGIC_LENGTH))
            if compression not in LAYER_SUFFIXES:
                raise Unsupported(f"layer {name!r} in image archive is compressed with {compression}")
            layers.append(Descriptor(OCI_LAYER + LAYER_SUFFIXES[compression], blob.digest, blob.size))
        manifest = Manifest(
            media_type=OCI_MANIFEST, config=Descriptor(OCI_CONFIG, config.digest, config.size), layers=layers
        )
        blob = self._blobs.add(encode(manifest), self._pin)
        names = tuple(str(parse_reference(tag).with_default_tag()) for tag in item.repo_tags or [])
        return NewImage(Descriptor(OCI_MANIFEST, blob.digest, blob.size), names, item.parent)

    def _index_images(self) -> Iterator[NewImage]:
        index = parse_index(self._blobs.read(self._members["index.json"].digest))
        for descriptor in index.manifests:
            annotations = descriptor.annotations or {}
            if ATTESTATION in annotations:
                continue
            chosen = choose(self._blobs, descriptor, self._pin)
            self._check_image(chosen)
            outer = _plain(descriptor) if descriptor.media_type in INDEX_TYPES else None
            yield NewImage(_plain(chosen), _names_in(annotations), index=outer)

    def _check_image(self, descriptor: Descriptor) -> None:
        check(self._blobs, descriptor, self._pin)
        if descriptor.size > DOCUMENT_SIZE_MAX:
            raise InvalidParameter(f"manifest {descriptor.digest} is too large")
        manifest = parse_manifest(self._blobs.read(descriptor.digest), descriptor.media_type)
        for each in (manifest.config, *manifest.layers):
            check(self._blobs, each, self._pin)


def _plain(descriptor: Descriptor) -> Descriptor:
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)


def _names_in(annotations: dict[str, str]) -> tuple[str, ...]:
    """Read the name of an image from an index: containerd's full one, else the OCI one if it is more than
    a bare tag."""
    name = annotations.get(ANNOTATION_IMAGE_NAME) or annotations.get(ANNOTATION_REF_NAME, "")
    if ANNOTATION_IMAGE_NAME not in annotations and ":" not in name and "/" not in name:
        return ()
    try:
        return (str(parse_reference(name).with_default_tag()),)
    except MinidockError:
        if ANNOTATION_IMAGE_NAME in annotations:
            raise
        return ()  # the OCI annotation is free text: some write a version number or a sentence into it


def _merged(images: Iterator[tuple[NewImage, Digest]]) -> list[NewImage]:
    """Join what is said of one image in several places; refuse one name for two images."""
    merged: dict[Digest, NewImage] = {}
    owners: dict[str, Digest] = {}
    for image, config in images:
        known = merged.get(config, image)
        names = tuple(dict.fromkeys([*known.names, *image.names]))
        old_id = known.old_id or image.old_id
        base = known if known.index or not image.index else image
        parent = known.parent or image.parent
        merged[config] = NewImage(base.manifest, names, parent, old_id, base.index)
        for name in names:
            if owners.setdefault(name, config) != config:
                raise InvalidParameter(
                    f"ambiguous archive: two images are called {parse_reference(name).familiar}"
                )
        if len(owners) > NAMES_MAX:
            raise InvalidParameter(f"image archive refused: it has more than {NAMES_MAX} names")
    return list(merged.values())
