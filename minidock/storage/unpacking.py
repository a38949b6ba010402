"""From a manifest to unpacked layers: only what is missing is unpacked, and all of it becomes durable in one
step.

The digest of a blob proves that it is what the manifest meant; only unpacking proves that its content is
what the *config* (the image ID) meant, by the DiffID. Both are checked before a layer gets its name. OCI
image-spec, config.md ("rootfs").
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

from minidock.errors import InvalidParameter
from minidock.formats.digest import ChainID, Readable, chain_id, chain_ids
from minidock.formats.image import ImageConfig, Manifest
from minidock.ids import short
from minidock.storage.compression import PLAIN, decompressed
from minidock.storage.content import BlobStore
from minidock.storage.layers import TREE, LayerStore, Staged
from minidock.storage.pins import Pin

LAYERS_MAX = 128  # what overlayfs mounts on every kernel we support, within one page of options

Progress = Callable[[str, int, int], None]
"""Called with the 12 digits of a layer's DiffID, the bytes done and the bytes in all."""


def unpack_image(
    blobs: BlobStore,
    layers: LayerStore,
    pin: Pin,
    manifest: Manifest,
    config: ImageConfig,
    progress: Progress | None = None,
) -> tuple[ChainID, ...]:
    """Unpack the layers of an image that are not here yet and return its ChainIDs, lowest first, held by
    `pin`.

    Raises InvalidParameter or DigestMismatch for an image at odds with itself; then no layer of it has been
    recorded.
    """
    diff_ids = config.rootfs.diff_ids
    if len(manifest.layers) != len(diff_ids):
        raise InvalidParameter(
            f"the image has {len(manifest.layers)} layers, but its config names {len(diff_ids)} DiffIDs"
        )
    if len(diff_ids) > LAYERS_MAX:
        raise InvalidParameter(f"the image has {len(diff_ids)} layers; at most {LAYERS_MAX} can be mounted")
    staged: list[Staged] = []
    lowers: list[str] = []
    parent = ""
    with ExitStack() as temporary:
        for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True):
            identifier = chain_id(parent, diff_id)
            if layers.has(identifier, pin):
                lowers.insert(0, layers.diff_directory(identifier))
            else:
                with blobs.open(descriptor.digest) as file:
                    source = Reporting(file, progress, short(diff_id), descriptor.size)
                    tar, compression = decompressed(source)
                    # A plain blob that came just now was hashed as it came: that was its DiffID.
                    is_verified = compression == PLAIN and diff_id == descriptor.digest in pin.brought
                    stage = layers.stage(tar, diff_id, parent, lowers, is_verified)
                    staged.append(temporary.enter_context(stage))
                lowers.insert(0, os.path.join(staged[-1].directory, TREE))
            parent = identifier
        if staged:
            layers.sync()
            layers.commit(staged, pin)
    return chain_ids(diff_ids)


class Reporting:
    """Passes a stream through and tells how much of it has been read."""

    def __init__(self, source: Readable, progress: Progress | None, name: str, total: int) -> None:
        self._source = source
        self._progress = progress
        self._name = name
        self._total = total
        self._done = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""
        data = self._source.read(size)
        if data and self._progress is not None:
            self._done += len(data)
            self._progress(self._name, self._done, self._total)
        return data
