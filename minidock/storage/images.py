"""Images and their names: what a user means by `busybox`, and what that needs on disk.

An image is known by the digest of its config; its manifest, config and layer blobs lie in an OCI image
layout that other tools can read where it is, its layers are also unpacked. What is needed is computed from
the index, never counted: a blob or layer that no image names is swept. The order of writes makes a crash
harmless: blobs, layers, one sync, then the index that names them; on removal the index first (design.md
section 4).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from minidock.errors import InvalidParameter, MinidockError, NotFound
from minidock.formats.digest import ChainID, Digest, chain_ids, is_digest
from minidock.formats.image import (
    Descriptor,
    ImageConfig,
    Manifest,
    created_time,
    parse_config,
    parse_manifest,
)
from minidock.formats.reference import Reference, parse_reference
from minidock.paths import Paths
from minidock.storage.content import BlobStore
from minidock.storage.index import Catalogue, is_written, read_catalogue, write_catalogue
from minidock.storage.layers import LayerStore
from minidock.storage.pins import Pin, Pins
from minidock.storage.platforms import belongings
from minidock.storage.unpacking import unpack_image

_hexadecimal = re.compile(r"\A(?:sha256:)?([0-9a-f]{1,64})\Z")


@dataclass(frozen=True)
class Image:
    """One image. `references` and `digests` are familiar and sorted, `size` is that of its unpacked
    layers in bytes, `created` is RFC 3339 ("" if the config does not say), `parent` an image ID or "",
    `chain_ids` lowest first, `old_id` the 64 digits that an archive of 2014 knows it by, or ""."""

    id: str
    config: ImageConfig
    references: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    created: str
    parent: str
    chain_ids: tuple[ChainID, ...]
    architecture: str
    os: str
    old_id: str = ""


@dataclass(frozen=True)
class NewImage:
    """An image to be recorded: its manifest, which is a blob already, the full references that shall name
    it, and the index that it came in, if any."""

    manifest: Descriptor
    names: tuple[str, ...] = ()
    parent: str = ""
    old_id: str = ""
    index: Descriptor | None = None


@dataclass
class _Record:
    """What is kept in memory of an image, by its ID; of a manifest that came in an index, by its digest,
    that index and the digests of all that belongs to it."""

    config: ImageConfig
    manifests: list[tuple[Descriptor, Manifest]]
    chain_ids: tuple[ChainID, ...]
    parent: str
    old_id: str
    indexes: dict[Digest, tuple[Descriptor, frozenset[Digest]]] = field(default_factory=dict)


class ImageStore:
    """All images of one engine; safe for many threads. `problems` says what was found damaged when the
    store was opened."""

    def __init__(self, paths: Paths) -> None:
        self._pins = Pins()
        self._root = paths.images
        self.problems: list[str] = []
        self.blobs = BlobStore(paths.images, self._pins)
        self.layers = LayerStore(paths, self._pins)
        self._records: dict[str, _Record] = {}
        self._names: dict[str, str] = {}  # full reference -> image ID
        # What cannot be read stays in the index; as long as it does, no blob that may be its is swept.
        self._unreadable = Catalogue()
        self._open()

    def images(self) -> list[Image]:
        """Return all images, newest first."""
        with self._pins.lock:
            names: dict[str, list[str]] = {}
            for name, image_id in self._names.items():
                names.setdefault(image_id, []).append(name)
            found = [self._image(image_id, names.get(image_id, [])) for image_id in self._records]
        return sorted(found, key=lambda image: (-created_time(image.created), image.id))

    def image(self, image_id: str) -> Image:
        """Return the image with this full ID."""
        with self._pins.lock:
            if image_id not in self._records:
                raise NotFound(f"No such image: {image_id}")
            return self._image(image_id, [name for name, each in self._names.items() if each == image_id])

    def has_children(self, image_id: str) -> bool:
        """Tell whether another image was made from this one."""
        with self._pins.lock:
            return any(self._parent(record) == image_id for record in self._records.values())

    def resolve(self, reference: str) -> Image:
        """Return the image that a user means: name, name:tag, name@digest, ID, or the beginning of an ID, in
        this order.

        Raises NotFound("No such image: busybox:latest"), or InvalidParameter for what is no reference at
        all.
        """
        with self._pins.lock:
            image_id = f"sha256:{reference.removeprefix('sha256:')}"
            if is_digest(image_id):
                known = image_id if image_id in self._records else self._find_by_prefix(image_id)
                return self.image(known or image_id)
            parsed = parse_reference(reference)
            named = self._find_named(parsed)
            if named is None:
                named = self._find_by_prefix(reference)
            if named is None:
                raise NotFound(f"No such image: {parsed.with_default_tag().familiar}")
            return self.image(named)

    def tag(self, image_id: str, reference: str) -> str:
        """Name an image `name:tag` (`latest` if not said), taking the name from another; return the
        familiar form."""
        parsed = parse_reference(reference)
        if parsed.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        if parsed.familiar_name == "sha256":
            raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
        return self._name(image_id, parsed.with_default_tag())

    def remember_digest(self, image_id: str, reference: str) -> str:
        """Note that a registry knows the image as `name@digest`; return the familiar form."""
        parsed = parse_reference(reference)
        if not parsed.digest:
            raise InvalidParameter(f"{reference} has no digest")
        return self._name(image_id, Reference(parsed.domain, parsed.path, None, parsed.digest))

    def untag(self, reference: str) -> str:
        """Take one name (`name`, `name:tag`, `name@digest`) away from its image, which stays; return the
        familiar form."""
        with self._pins.lock:
            parsed = parse_reference(reference).with_default_tag()
            if str(parsed) not in self._names:
                raise NotFound(f"No such image: {parsed.familiar}")
            del self._names[str(parsed)]
            self._write()
            return parsed.familiar

    def remove(self, image_id: str, keep_layers: Iterable[ChainID] = ()) -> list[str]:
        """Remove an image with all its names, and of its layers those that neither another image nor
        `keep_layers` needs.

        `keep_layers` are the ChainIDs that containers use: the store knows no containers. Whether the image
        *may* go is the engine's question. Returns what `docker rmi` lists as deleted: the image ID, then
        ChainIDs, topmost first.
        """
        with self._pins.lock:
            if image_id not in self._records:
                raise NotFound(f"No such image: {image_id}")
            record = self._records.pop(image_id)
            self._names = {name: each for name, each in self._names.items() if each != image_id}
            self._write()
            for digest in _blobs_of(record) - self._needed_blobs():
                self.blobs.delete(digest)
            needed = self._needed_layers(keep_layers)
        return [image_id, *self.layers.sweep(needed, among=record.chain_ids)]

    def sweep(self, keep_layers: Iterable[ChainID] = ()) -> int:
        """Remove all blobs and layers that no image and none of `keep_layers` needs; return the bytes freed.

        For `image prune` and once after start, when the engine has read its containers.
        """
        with self._pins.lock:
            freed = self._sweep_blobs()
            sizes = {layer.chain_id: layer.size for layer in self.layers.layers()}
            wanted = self._needed_layers(keep_layers)
        return freed + sum(sizes.get(identifier, 0) for identifier in self.layers.sweep(wanted))

    def release(self, image_id: str, chain_ids: Sequence[ChainID], keep_layers: Iterable[ChainID]) -> None:
        """Remove layers that a container stood on, if its image is gone and nobody else needs them."""
        with self._pins.lock:
            if image_id in self._records:
                return
            needed = self._needed_layers(keep_layers)
        self.layers.sweep(needed, among=chain_ids)

    @contextmanager
    def work(self) -> Iterator[Pin]:
        """Give out a pin for work that brings blobs and layers; what no image names at its end is deleted."""
        with self._pins.hold() as pin:
            try:
                yield pin
            finally:
                brought = set(pin.brought)
                self._pins.release(pin)
                with self._pins.lock:
                    for digest in brought - self._needed_blobs():
                        self.blobs.delete(digest)
                self.layers.sweep(self._needed_layers(()), among=brought)

    def add(self, images: Iterable[NewImage], pin: Pin) -> list[Image]:
        """Record images whose blobs and layers are in the store and held by `pin`, all in one step; names
        move to them."""
        with self._pins.lock:
            added = [(self._admit(new), new.names) for new in images]
            for image_id, names in added:
                self._names.update(dict.fromkeys(names, image_id))
            self._write()
            return [self.image(image_id) for image_id, _ in added]

    def manifests(self, image_id: str) -> list[Descriptor]:
        """Return the manifests of an image, oldest first; several if it came in several packings."""
        with self._pins.lock:
            self.image(image_id)
            return [descriptor for descriptor, _ in self._records[image_id].manifests]

    def index(self, manifest: Descriptor) -> tuple[Descriptor, frozenset[Digest]] | None:
        """Return the index that a manifest came in, and the digests of all that belongs to it."""
        with self._pins.lock:
            found = [record.indexes.get(manifest.digest) for record in self._records.values()]
        return next(filter(None, found), None)

    def _admit(self, new: NewImage) -> str:
        """Put an image into memory; NotFound if something that it needs is not in the store."""
        manifest = parse_manifest(self.blobs.read(new.manifest.digest), new.manifest.media_type)
        config = parse_config(self.blobs.read(manifest.config.digest))
        for layer in manifest.layers:
            if self.blobs.size(layer.digest) != layer.size:
                raise InvalidParameter(
                    f"manifest {new.manifest.digest} gives blob {layer.digest} another size"
                )
        identifiers = chain_ids(config.rootfs.diff_ids)
        for identifier in identifiers:
            self.layers.layer(identifier)
        image_id = manifest.config.digest
        record = self._records.setdefault(image_id, _Record(config, [], identifiers, "", ""))
        record.parent = new.parent or record.parent
        record.old_id = new.old_id or record.old_id
        if all(descriptor.digest != new.manifest.digest for descriptor, _ in record.manifests):
            record.manifests.append((new.manifest, manifest))
        if new.index is not None:
            record.indexes[new.manifest.digest] = (new.index, belongings(self.blobs, new.index))
        return image_id

    def _image(self, image_id: str, names: list[str]) -> Image:
        record = self._records[image_id]
        familiar = [parse_reference(name) for name in names]
        return Image(
            id=image_id,
            config=record.config,
            references=tuple(sorted(each.familiar for each in familiar if not each.digest)),
            digests=tuple(sorted(each.familiar for each in familiar if each.digest)),
            size=sum(self.layers.layer(identifier).size for identifier in record.chain_ids),
            created=record.config.created or "",
            parent=self._parent(record),
            chain_ids=record.chain_ids,
            architecture=record.config.architecture,
            os=record.config.os,
            old_id=record.old_id,
        )

    def _parent(self, record: _Record) -> str:
        """Return the parent if it is here and can be one: an archive may claim anything, even a circle."""
        parent = self._records.get(record.parent)
        if parent is None or record.chain_ids[: len(parent.chain_ids)] != parent.chain_ids:
            return ""
        steps, of_parent = record.config.history or (), parent.config.history or ()
        return record.parent if len(of_parent) < len(steps) else ""

    def _name(self, image_id: str, reference: Reference) -> str:
        with self._pins.lock:
            self.image(image_id)
            self._names[str(reference)] = image_id
            self._write()
            return reference.familiar

    def _find_named(self, reference: Reference) -> str | None:
        if not reference.digest:
            return self._names.get(str(reference.with_default_tag()))
        known = self._names.get(f"{reference.name}@{reference.digest}")
        if known is not None:
            return known
        for name, image_id in self._names.items():
            record = self._records[image_id]
            manifests = {descriptor.digest for descriptor, _ in record.manifests}
            indexes = {index.digest for index, _ in record.indexes.values()}
            if parse_reference(name).name == reference.name and reference.digest in manifests | indexes:
                return image_id
        return None

    def _find_by_prefix(self, text: str) -> str | None:
        match = _hexadecimal.match(text)
        if match is None:
            return None
        found = [image_id for image_id in self._records if image_id.startswith(f"sha256:{match[1]}")] or [
            image_id for image_id, record in self._records.items() if record.old_id.startswith(match[1])
        ]
        if len(found) > 1:
            raise InvalidParameter(f"image ID {text} is ambiguous: {len(found)} images begin with it")
        return found[0] if found else None

    def _needed_blobs(self) -> set[Digest]:
        return set().union(*(_blobs_of(record) for record in self._records.values()))

    def _needed_layers(self, more: Iterable[ChainID]) -> set[ChainID]:
        return set(more).union(*(record.chain_ids for record in self._records.values()))

    def _write(self) -> None:
        first = {image_id: record.manifests[0][0].digest for image_id, record in self._records.items()}
        manifests = [descriptor for record in self._records.values() for descriptor, _ in record.manifests]
        parents = {first[key]: record.parent for key, record in self._records.items() if record.parent}
        names = {name: first[image_id] for name, image_id in self._names.items()}
        old_ids = {first[key]: record.old_id for key, record in self._records.items() if record.old_id}
        indexes = {
            digest: index
            for record in self._records.values()
            for digest, (index, _) in record.indexes.items()
        }
        unreadable = self._unreadable
        catalogue = Catalogue(
            manifests + unreadable.manifests,
            parents | unreadable.parents,
            unreadable.names | names,
            old_ids | unreadable.old_ids,
            indexes | unreadable.indexes,
        )
        write_catalogue(self._root, catalogue, self._names)

    def _sweep_blobs(self) -> int:
        if self._unreadable.manifests:
            return 0
        needed = self._needed_blobs()
        return sum(self.blobs.delete(digest) for digest in self.blobs.digests() if digest not in needed)

    def _open(self) -> None:
        """Read the catalogue, unpack layers that got lost, and delete blobs that nobody names: nobody
        else is here yet."""
        self.blobs.tidy()
        catalogue = read_catalogue(self._root, self.blobs, self.problems)
        image_of: dict[Digest, str] = {}
        with self._pins.hold() as pin:
            for descriptor in catalogue.manifests:
                parent = catalogue.parents.get(descriptor.digest, "")
                old_id = catalogue.old_ids.get(descriptor.digest, "")
                index = catalogue.indexes.get(descriptor.digest)
                try:
                    self._restore_layers(descriptor, pin)
                    image = NewImage(descriptor, parent=parent, old_id=old_id, index=index)
                    image_of[descriptor.digest] = self._admit(image)
                except MinidockError as error:
                    self.problems.append(f"image with manifest {descriptor.digest} left out: {error}")
                    self._unreadable.manifests.append(descriptor)
                    self._unreadable.parents.update({descriptor.digest: parent} if parent else {})
                    self._unreadable.old_ids.update({descriptor.digest: old_id} if old_id else {})
                    self._unreadable.indexes.update({descriptor.digest: index} if index else {})
        for name, digest in catalogue.names.items():
            if digest in image_of:
                self._names[name] = image_of[digest]
            else:
                self._unreadable.names[name] = digest
        self.problems += self.layers.problems
        self._sweep_blobs()
        if self.problems or not is_written(self._root, self._names):
            self._write()

    def _restore_layers(self, descriptor: Descriptor, pin: Pin) -> None:
        manifest = parse_manifest(self.blobs.read(descriptor.digest), descriptor.media_type)
        config = parse_config(self.blobs.read(manifest.config.digest))
        if not all(self.layers.has(identifier, pin) for identifier in chain_ids(config.rootfs.diff_ids)):
            self.problems.append(
                f"unpacked layers of image {manifest.config.digest} were missing: unpacked again"
            )
            unpack_image(self.blobs, self.layers, pin, manifest, config)


def _blobs_of(record: _Record) -> set[Digest]:
    blobs: set[Digest] = set()
    for descriptor, manifest in record.manifests:
        blobs |= {descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
    return blobs.union(*(belonging for _, belonging in record.indexes.values()))
