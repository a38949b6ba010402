"""Bring images in from tars: `docker load` for image archives, `docker import` for a plain root file system.

Both read a stream once, forward only, and leave either whole images or nothing: blobs are checked as they
arrive, layers are unpacked beside the store, and one write of the index makes it all visible
(`minidock.storage.images`).
"""

from datetime import UTC, datetime
from typing import NamedTuple

from minidock.formats.digest import Readable
from minidock.formats.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ExecutionConfig,
    History,
    ImageConfig,
    Manifest,
    RootFS,
    encode,
    host_platform,
    parse_config,
    parse_manifest,
)
from minidock.formats.reference import parse_reference
from minidock.storage.compression import decompressed
from minidock.storage.content import Blob
from minidock.storage.imagearchive import ImageArchive
from minidock.storage.images import Image, ImageStore, NewImage
from minidock.storage.layers import Staged
from minidock.storage.pins import Pin
from minidock.storage.unpacking import Progress, unpack_image
from minidock.storage.writeback import written_behind


class Origin(NamedTuple):
    """What an image of one layer says about where it comes from."""

    created: str
    created_by: str = ""
    comment: str = ""


def load(store: ImageStore, stream: Readable, progress: Progress | None = None) -> list[str]:
    """Load every image of an archive; `stream` may be gzip, zstd, bzip2, xz or plain, and need not seek.

    Returns what `docker load` lists: the familiar names, and the IDs of images that have none and are no
    other's parent. The images with the most layers are unpacked first: their parents then find all of
    theirs. On any error nothing is recorded.
    """
    with store.work() as pin:
        with written_behind(store.blobs.root):
            source, _ = decompressed(stream)
            images = ImageArchive(store.blobs, pin, source).images()
            manifests = [parse_manifest(store.blobs.read(image.manifest.digest)) for image in images]
            for manifest in sorted(manifests, key=lambda each: len(each.layers), reverse=True):
                config = parse_config(store.blobs.read(manifest.config.digest))
                unpack_image(store.blobs, store.layers, pin, manifest, config, progress)
        added = store.add(images, pin)
    loaded = []
    parents = {image.parent for image in images}
    for image, record in zip(images, added, strict=True):
        if image.names or record.id not in parents:
            loaded += [parse_reference(name).familiar for name in image.names] or [record.id]
    return loaded


def import_root(
    store: ImageStore,
    stream: Readable,
    reference: str | None = None,
    message: str = "",
    config: ExecutionConfig | None = None,
) -> Image:
    """Make an image of one layer from a root file system's tar, in any compression; `config` comes from
    `-c` changes."""
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    origin = Origin(created, comment=message or "Imported from -")
    return make_image(store, stream, reference, origin, config)


def make_image(
    store: ImageStore, stream: Readable, reference: str | None, origin: Origin, config: ExecutionConfig | None
) -> Image:
    """Store a tar as the only layer of a new image, plain, whatever it was compressed with."""
    name = (str(parse_reference(reference).with_default_tag()),) if reference else ()
    with store.work() as pin:
        with written_behind(store.blobs.root):
            layer = store.blobs.ingest(decompressed(stream)[0], pin)
            with (
                store.blobs.open(layer.digest) as file,
                store.layers.stage(file, layer.digest, "", [], is_verified=True) as staged,
            ):
                manifest = _describe(store, pin, layer, staged, origin, config)
                store.layers.sync()
                store.layers.commit([staged], pin)
        return store.add([NewImage(manifest, name, last_tag_time=origin.created if name else "")], pin)[0]


def _describe(
    store: ImageStore,
    pin: Pin,
    layer: Blob,
    staged: Staged,
    origin: Origin,
    execution: ExecutionConfig | None,
) -> Descriptor:
    """Write the config and the manifest of an image of one layer."""
    platform = host_platform()
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        rootfs=RootFS("layers", [staged.layer.diff_id]),
        created=origin.created,
        config=execution or ExecutionConfig(),
        history=[History(origin.created, origin.created_by, comment=origin.comment)],
    )
    config_blob = store.blobs.add(encode(config), pin)
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(OCI_CONFIG, config_blob.digest, config_blob.size),
        layers=[Descriptor(OCI_LAYER, layer.digest, layer.size)],
    )
    blob = store.blobs.add(encode(manifest), pin)
    return Descriptor(OCI_MANIFEST, blob.digest, blob.size)
