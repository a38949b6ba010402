"""A new image above another: the parent's layers, one more made of a tar, and a config that says so.

An empty tar makes no layer, only a step in the history (a commit of a container that changed nothing).
Blobs first, then the layer, then the record that names both. OCI image-spec, config.md.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from minidock.errors import InvalidParameter, NotFound
from minidock.formats.digest import Readable
from minidock.formats.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ExecutionConfig,
    History,
    Manifest,
    encode,
    parse_manifest,
)
from minidock.formats.reference import parse_reference
from minidock.storage.images import Image, ImageStore, NewImage
from minidock.storage.pins import Pin
from minidock.storage.unpacking import LAYERS_MAX

EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The digest of 1,024 zero bytes: a tar with nothing in it."""


@dataclass(frozen=True)
class Step:
    """What the new image adds beside its layer; `created` is RFC 3339, `reference` its name or "",
    `container` the id of the one it is made from.
    """

    execution: ExecutionConfig
    created: str
    created_by: str = ""
    author: str = ""
    comment: str = ""
    reference: str = ""
    container: str = ""


def commit(store: ImageStore, parent_id: str, layer: Readable, step: Step) -> Image:
    """Store the uncompressed tar `layer` as an image above `parent_id`; NotFound when that is gone."""
    name = (str(parse_reference(step.reference).with_default_tag()),) if step.reference else ()
    with store.work() as pin, ExitStack() as staging:
        parent = store.image(parent_id)
        base = _pinned_manifest(store, parent, pin)
        blob = store.blobs.ingest(layer, pin)
        layers, diff_ids = list(base.layers), list(parent.config.rootfs.diff_ids)
        if blob.digest != EMPTY_LAYER:
            if len(diff_ids) >= LAYERS_MAX:
                raise InvalidParameter(f"max depth exceeded: an image can have {LAYERS_MAX} layers")
            file = staging.enter_context(store.blobs.open(blob.digest))
            below = [store.layers.diff_directory(each) for each in reversed(parent.chain_ids)]
            top = parent.chain_ids[-1] if parent.chain_ids else ""
            staged = staging.enter_context(
                store.layers.stage(file, blob.digest, top, below, is_verified=True)
            )
            store.layers.sync()
            store.layers.commit([staged], pin)
            layers.append(Descriptor(OCI_LAYER, blob.digest, blob.size))
            diff_ids.append(blob.digest)
        manifest = _describe(store, pin, parent, layers, diff_ids, step)
        store.blobs.sync()
        tagged = step.created if name else ""
        return store.add([NewImage(manifest, name, parent.id, last_tag_time=tagged)], pin)[0]


def _pinned_manifest(store: ImageStore, parent: Image, pin: Pin) -> Manifest:
    """Return the parent's manifest, with its layers held by `pin`."""
    descriptor = store.manifests(parent.id)[0]
    manifest = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    for each in manifest.layers:
        if not store.blobs.has(each.digest, pin):
            raise NotFound(f"blob {each.digest} of image {parent.id} not found")
    for chain_id in parent.chain_ids:
        if not store.layers.has(chain_id, pin):
            raise NotFound(f"layer {chain_id} of image {parent.id} not found")
    return manifest


def _describe(
    store: ImageStore, pin: Pin, parent: Image, layers: list[Descriptor], diff_ids: list[str], step: Step
) -> Descriptor:
    """Write the config and the manifest."""
    done = History(
        step.created,
        step.created_by,
        step.author,
        step.comment,
        empty_layer=len(diff_ids) == len(parent.config.rootfs.diff_ids),
    )
    config = msgspec.structs.replace(
        parent.config,
        rootfs=msgspec.structs.replace(parent.config.rootfs, diff_ids=diff_ids),
        created=step.created,
        author=step.author,
        container=step.container,
        config=step.execution,
        history=[*(parent.config.history or ()), done],
    )
    blob = store.blobs.add(encode(config), pin)
    manifest = Manifest(
        media_type=OCI_MANIFEST, config=Descriptor(OCI_CONFIG, blob.digest, blob.size), layers=layers
    )
    written = store.blobs.add(encode(manifest), pin)
    return Descriptor(OCI_MANIFEST, written.digest, written.size)
