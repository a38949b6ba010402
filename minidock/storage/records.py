"""What is known of the images while the engine runs: which one a reference means, and what it needs on disk.

All of it is read from the index when the store opens, and every change of it is written there: see
`catalogue`. Nothing here touches the disk or takes a lock; the store holds its own around each call.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from minidock.errors import InvalidParameter
from minidock.formats.digest import ChainID, Digest
from minidock.formats.image import Descriptor, ImageConfig, Manifest
from minidock.formats.reference import Reference, parse_reference
from minidock.storage.index import Catalogue

_hexadecimal = re.compile(r"\A(?:sha256:)?([0-9a-f]{1,64})\Z")


@dataclass
class Record:
    """One image: its config, the manifests that it came with, oldest first, what it stands on and what it is
    called elsewhere. `indexes`: of a manifest that came in an index, by its digest, that index and the
    digests of all that belongs to it."""

    config: ImageConfig
    manifests: list[tuple[Descriptor, Manifest]]
    chain_ids: tuple[ChainID, ...]
    parent: str = ""
    old_id: str = ""
    last_tag_time: str = ""
    indexes: dict[Digest, tuple[Descriptor, frozenset[Digest]]] = field(default_factory=dict)

    def blobs(self) -> set[Digest]:
        """Return the digests of all that this image needs."""
        blobs: set[Digest] = set()
        for descriptor, manifest in self.manifests:
            blobs |= {
                descriptor.digest,
                manifest.config.digest,
                *(layer.digest for layer in manifest.layers),
            }
        return blobs.union(*(belonging for _, belonging in self.indexes.values()))


class Records:
    """All images, by their IDs, and `names`: the image ID of each full reference."""

    def __init__(self) -> None:
        self.images: dict[str, Record] = {}
        self.names: dict[str, str] = {}

    def parent(self, record: Record) -> str:
        """Return the parent if it is here and can be one: an archive may claim anything, even a circle."""
        parent = self.images.get(record.parent)
        if parent is None or record.chain_ids[: len(parent.chain_ids)] != parent.chain_ids:
            return ""
        steps, of_parent = record.config.history or (), parent.config.history or ()
        return record.parent if len(of_parent) < len(steps) else ""

    def named(self, reference: Reference) -> str | None:
        """Return the ID of the image with this name, or of the one in this repository with this digest."""
        if not reference.digest:
            return self.names.get(str(reference.with_default_tag()))
        known = self.names.get(f"{reference.name}@{reference.digest}")
        if known is not None:
            return known
        for name, image_id in self.names.items():
            record = self.images[image_id]
            manifests = {descriptor.digest for descriptor, _ in record.manifests}
            indexes = {index.digest for index, _ in record.indexes.values()}
            if parse_reference(name).name == reference.name and reference.digest in manifests | indexes:
                return image_id
        return None

    def beginning_with(self, text: str) -> str | None:
        """Return the only ID that begins with these digits, or that of 2014; InvalidParameter for several."""
        match = _hexadecimal.match(text)
        if match is None:
            return None
        found = [image_id for image_id in self.images if image_id.startswith(f"sha256:{match[1]}")] or [
            image_id for image_id, record in self.images.items() if record.old_id.startswith(match[1])
        ]
        if len(found) > 1:
            raise InvalidParameter(f"image ID {text} is ambiguous: {len(found)} images begin with it")
        return found[0] if found else None

    def needed_blobs(self) -> set[Digest]:
        """Return the digests of all that any image needs."""
        return set().union(*(record.blobs() for record in self.images.values()))

    def needed_layers(self, more: Iterable[ChainID]) -> set[ChainID]:
        """Return the ChainIDs that any image stands on, and `more`."""
        return set(more).union(*(record.chain_ids for record in self.images.values()))

    def catalogue(self, unreadable: Catalogue) -> Catalogue:
        """Return what the index shall say: all this, and what it said of images that could not be read."""
        first = {image_id: record.manifests[0][0].digest for image_id, record in self.images.items()}
        with_first = [(first[image_id], record) for image_id, record in self.images.items()]
        indexes = {
            digest: index for record in self.images.values() for digest, (index, _) in record.indexes.items()
        }
        manifests = [descriptor for record in self.images.values() for descriptor, _ in record.manifests]
        return Catalogue(
            manifests + unreadable.manifests,
            {digest: record.parent for digest, record in with_first if record.parent} | unreadable.parents,
            unreadable.names | {name: first[image_id] for name, image_id in self.names.items()},
            {digest: record.old_id for digest, record in with_first if record.old_id} | unreadable.old_ids,
            indexes | unreadable.indexes,
            {digest: record.last_tag_time for digest, record in with_first if record.last_tag_time}
            | unreadable.last_tag_times,
        )
