"""An index stands for one image on several machines: the one for this machine, and all that comes along.

Only the manifest for this machine is unpacked and run. But the index has a digest too, by which others know
the image, and it is worth something only with what it points to: so the blobs for other machines, and the
attestations, are kept as the bytes they came as, and leave with the image. Nothing of them is ever read
beyond their descriptors. OCI image-spec, image-index.md.
"""

from minidock.errors import DigestMismatch, InvalidParameter, MinidockError, NotFound, Unsupported
from minidock.formats.digest import Digest
from minidock.formats.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    host_platform,
    parse_index,
    pointers,
)
from minidock.storage.content import BlobStore
from minidock.storage.pins import Pin

NESTING_MAX = 4
ATTESTATION = "vnd.docker.reference.type"


def choose(blobs: BlobStore, descriptor: Descriptor, pin: Pin | None = None, depth: int = 0) -> Descriptor:
    """Follow an index to the manifest for this machine: of those that are here, or the only one.

    NotFound if there is none; what was found is held by `pin`.
    """
    if descriptor.media_type in MANIFEST_TYPES:
        return descriptor
    if descriptor.media_type not in INDEX_TYPES or depth == NESTING_MAX:
        raise Unsupported(f"an image cannot be a document of type {descriptor.media_type!r}")
    check(blobs, descriptor, pin)
    index = parse_index(blobs.read(descriptor.digest), descriptor.media_type)
    here = [
        each
        for each in index.manifests
        if ATTESTATION not in (each.annotations or {}) and blobs.has(each.digest, pin)
    ]
    host = host_platform()
    fitting = [
        each
        for each in here
        if each.platform and (each.platform.architecture, each.platform.os) == (host.architecture, host.os)
    ]
    for candidates in (fitting, here if len(here) == 1 else []):
        if candidates:
            return choose(blobs, candidates[0], pin, depth + 1)
    raise NotFound(f"the index {descriptor.digest} has no image for {host.os}/{host.architecture}")


def check(blobs: BlobStore, descriptor: Descriptor, pin: Pin | None = None) -> None:
    """Check that the blob of a descriptor is here and has its size; from now on `pin` holds it."""
    if not blobs.has(descriptor.digest, pin):
        raise InvalidParameter(f"blob {descriptor.digest} is missing")
    if blobs.size(descriptor.digest) != descriptor.size:
        raise DigestMismatch(
            f"unexpected size of {descriptor.digest}: a descriptor says {descriptor.size} bytes"
        )


def belongings(blobs: BlobStore, index: Descriptor, pin: Pin | None = None) -> frozenset[Digest]:
    """Return the digests of an index and of all below it that is here, held by `pin`."""
    found = {index.digest}
    pending = [index]
    while pending:
        descriptor = pending.pop()
        if descriptor.media_type not in INDEX_TYPES | MANIFEST_TYPES:
            continue
        try:
            below = pointers(blobs.read(descriptor.digest))
        except MinidockError:  # damaged or no such document: bytes like any others
            continue
        for each in below:
            if each.digest not in found and blobs.has(each.digest, pin):
                found.add(each.digest)
                pending.append(each)
    return frozenset(found)
