"""Images and their names: what a user means by `busybox`, and what that needs on disk.

An image is known by the digest of its config; its manifest, config and layer blobs lie in an OCI image
layout that other tools can read where it is, its layers are also unpacked. What is needed is computed from
the index, never counted: a blob or layer that no image names is swept. The order of writes makes a crash
harmless: blobs, layers, one sync, then the index that names them; on removal the index first (design.md
section 4).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from minidock.errors import InvalidParameter, MinidockError, NotFound
from minidock.formats.digest import ChainID, Digest, chain_ids, is_digest
from minidock.formats.image import (
    Descriptor,
    ImageConfig,
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
from minidock.storage.records import Record, Records
from minidock.storage.unpacking import unpack_image


@dataclass(frozen=True)
class Image:
    """One image. `references` and `digests` are familiar and sorted, `size` is that of its unpacked
    layers in bytes, `created` is RFC 3339 ("" if the config does not say), `parent` an image ID or "",
    `chain_ids` lowest first, `old_id` the 64 digits that an archive of 2014 knows it by, or "", and
    `last_tag_time` (RFC 3339) when it was last named here, "" if it only came with its names."""

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
    last_tag_time: str = ""


@dataclass(frozen=True)
class NewImage:
    """An image to be recorded: its manifest, which is a blob already, the full references that shall name
    it, and the index that it came in, if any."""

    manifest: Descriptor
    names: tuple[str, ...] = ()
    parent: str = ""
    old_id: str = ""
    index: Descriptor | None = None
    last_tag_time: str = ""


class ImageStore:
    """All images of one engine; safe for many threads. `problems` says what was found damaged when the
    store was opened."""

    def __init__(self, paths: Paths) -> None:
        self._pins = Pins()
        self._root = paths.images
        self.problems: list[str] = []
        self.blobs = BlobStore(paths.images, self._pins)
        self.layers = LayerStore(paths, self._pins)
        self._known = Records()
        # What cannot be read stays in the index; as long as it does, no blob that may be its is swept.
        self._unreadable = Catalogue()
        self._open()

    def images(self) -> list[Image]:
        """Return all images, newest first."""
        with self._pins.lock:
            names: dict[str, list[str]] = {}
            for name, image_id in self._known.names.items():
                names.setdefault(image_id, []).append(name)
            found = [self._image(image_id, names.get(image_id, [])) for image_id in self._known.images]
        return sorted(found, key=lambda image: (-created_time(image.created), image.id))

    def image(self, image_id: str) -> Image:
        """Return the image with this full ID."""
        with self._pins.lock:
            if image_id not in self._known.images:
                raise NotFound(f"No such image: {image_id}")
            names = [name for name, each in self._known.names.items() if each == image_id]
            return self._image(image_id, names)

    def has_children(self, image_id: str) -> bool:
        """Tell whether another image was made from this one."""
        with self._pins.lock:
            return any(self._known.parent(record) == image_id for record in self._known.images.values())

    def resolve(self, reference: str) -> Image:
        """Return the image that a user means: name, name:tag, name@digest, ID, or the beginning of an ID, in
        this order.

        Raises NotFound("No such image: busybox:latest"), or InvalidParameter for what is no reference at
        all.
        """
        with self._pins.lock:
            image_id = f"sha256:{reference.removeprefix('sha256:')}"
            if is_digest(image_id):
                known = image_id if image_id in self._known.images else self._known.beginning_with(image_id)
                return self.image(known or image_id)
            parsed = parse_reference(reference)
            named = self._known.named(parsed)
            if named is None:
                named = self._known.beginning_with(reference)
            if named is None:
                raise NotFound(f"No such image: {parsed.with_default_tag().familiar}")
            return self.image(named)

    def tag(self, image_id: str, reference: str, now: str = "") -> str:
        """Name an image `name:tag` (`latest` if not said), taking the name from another; return the
        familiar form. `now` (RFC 3339) becomes its last tag time."""
        parsed = parse_reference(reference)
        if parsed.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        if parsed.familiar_name == "sha256":
            raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
        return self._name(image_id, parsed.with_default_tag(), now)

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
            if str(parsed) not in self._known.names:
                raise NotFound(f"No such image: {parsed.familiar}")
            del self._known.names[str(parsed)]
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
            if image_id not in self._known.images:
                raise NotFound(f"No such image: {image_id}")
            record = self._known.images.pop(image_id)
            self._known.names = {name: each for name, each in self._known.names.items() if each != image_id}
            self._write()
            for digest in record.blobs() - self._known.needed_blobs():
                self.blobs.delete(digest)
            needed = self._known.needed_layers(keep_layers)
        return [image_id, *self.layers.sweep(needed, among=record.chain_ids)]

    def sweep(self, keep_layers: Iterable[ChainID] = ()) -> int:
        """Remove all blobs and layers that no image and none of `keep_layers` needs; return the bytes freed.

        For `image prune` and once after start, when the engine has read its containers.
        """
        with self._pins.lock:
            freed = self._sweep_blobs()
            sizes = {layer.chain_id: layer.size for layer in self.layers.layers()}
            wanted = self._known.needed_layers(keep_layers)
        return freed + sum(sizes.get(identifier, 0) for identifier in self.layers.sweep(wanted))

    def release(self, image_id: str, chain_ids: Sequence[ChainID], keep_layers: Iterable[ChainID]) -> None:
        """Remove layers that a container stood on, if its image is gone and nobody else needs them."""
        with self._pins.lock:
            if image_id in self._known.images:
                return
            needed = self._known.needed_layers(keep_layers)
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
                    for digest in brought - self._known.needed_blobs():
                        self.blobs.delete(digest)
                self.layers.sweep(self._known.needed_layers(()), among=brought)

    def add(self, images: Iterable[NewImage], pin: Pin) -> list[Image]:
        """Record images whose blobs and layers are in the store and held by `pin`, all in one step; names
        move to them."""
        with self._pins.lock:
            added = [(self._admit(new), new.names) for new in images]
            for image_id, names in added:
                self._known.names.update(dict.fromkeys(names, image_id))
            self._write()
            return [self.image(image_id) for image_id, _ in added]

    def manifests(self, image_id: str) -> list[Descriptor]:
        """Return the manifests of an image, oldest first; several if it came in several packings."""
        with self._pins.lock:
            self.image(image_id)
            return [descriptor for descriptor, _ in self._known.images[image_id].manifests]

    def index(self, manifest: Descriptor) -> tuple[Descriptor, frozenset[Digest]] | None:
        """Return the index that a manifest came in, and the digests of all that belongs to it."""
        with self._pins.lock:
            found = [record.indexes.get(manifest.digest) for record in self._known.images.values()]
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
        record = self._known.images.setdefault(image_id, Record(config, [], identifiers))
        record.parent = new.parent or record.parent
        record.old_id = new.old_id or record.old_id
        record.last_tag_time = new.last_tag_time or record.last_tag_time
        if all(descriptor.digest != new.manifest.digest for descriptor, _ in record.manifests):
            record.manifests.append((new.manifest, manifest))
        if new.index is not None:
            record.indexes[new.manifest.digest] = (new.index, belongings(self.blobs, new.index))
        return image_id

    def _image(self, image_id: str, names: list[str]) -> Image:
        record = self._known.images[image_id]
        familiar = [parse_reference(name) for name in names]
        return Image(
            id=image_id,
            config=record.config,
            references=tuple(sorted(each.familiar for each in familiar if not each.digest)),
            digests=tuple(sorted(each.familiar for each in familiar if each.digest)),
            size=sum(self.layers.layer(identifier).size for identifier in record.chain_ids),
            created=record.config.created or "",
            parent=self._known.parent(record),
            chain_ids=record.chain_ids,
            architecture=record.config.architecture,
            os=record.config.os,
            old_id=record.old_id,
            last_tag_time=record.last_tag_time,
        )

    def _name(self, image_id: str, reference: Reference, now: str = "") -> str:
        with self._pins.lock:
            self.image(image_id)
            self._known.images[image_id].last_tag_time = now or self._known.images[image_id].last_tag_time
            self._known.names[str(reference)] = image_id
            self._write()
            return reference.familiar

    def _write(self) -> None:
        write_catalogue(self._root, self._known.catalogue(self._unreadable), self._known.names)

    def _sweep_blobs(self) -> int:
        if self._unreadable.manifests:
            return 0
        needed = self._known.needed_blobs()
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
                tagged = catalogue.last_tag_times.get(descriptor.digest, "")
                try:
                    self._restore_layers(descriptor, pin)
                    image = NewImage(descriptor, (), parent, old_id, index, tagged)
                    image_of[descriptor.digest] = self._admit(image)
                except MinidockError as error:
                    self.problems.append(f"image with manifest {descriptor.digest} left out: {error}")
                    self._unreadable.manifests.append(descriptor)
                    self._unreadable.parents.update({descriptor.digest: parent} if parent else {})
                    self._unreadable.old_ids.update({descriptor.digest: old_id} if old_id else {})
                    self._unreadable.indexes.update({descriptor.digest: index} if index else {})
                    self._unreadable.last_tag_times.update({descriptor.digest: tagged} if tagged else {})
        for name, digest in catalogue.names.items():
            if digest in image_of:
                self._known.names[name] = image_of[digest]
            else:
                self._unreadable.names[name] = digest
        self.problems += self.layers.problems
        self._sweep_blobs()
        if self.problems or not is_written(self._root, self._known.names):
            self._write()

    def _restore_layers(self, descriptor: Descriptor, pin: Pin) -> None:
        manifest = parse_manifest(self.blobs.read(descriptor.digest), descriptor.media_type)
        config = parse_config(self.blobs.read(manifest.config.digest))
        if not all(self.layers.has(identifier, pin) for identifier in chain_ids(config.rootfs.diff_ids)):
            self.problems.append(
                f"unpacked layers of image {manifest.config.digest} were missing: unpacked again"
            )
            unpack_image(self.blobs, self.layers, pin, manifest, config)
