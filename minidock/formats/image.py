"""Image documents: config, manifest, index and the descriptors that tie them together.

These bytes come from strangers and are addressed by their digest, so two readers must never see two meanings
in one document: what could be both a manifest and an index, names another media type than it was announced
with, or repeats a key, is refused (CVE-2021-41190). Encoding is for documents that we write; a document that
came to us is kept as the bytes it was. OCI image-spec: descriptor.md, manifest.md, image-index.md,
config.md; Docker's extra members as moby writes them.
"""

import json
import os
import re
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from minidock.errors import InvalidParameter, Unsupported
from minidock.formats.digest import PATTERN

DOCUMENT_SIZE_MAX = 4 << 20
# Commas and brackets: in memory a short value takes a hundred times the bytes that it takes in the document.
VALUES_MAX = 50_000

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYER_TYPES = frozenset(
    {OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd"}
    | {
        f"application/vnd.oci.image.layer.nondistributable.v1.tar{suffix}"
        for suffix in ("", "+gzip", "+zstd")
    }
    | {f"application/vnd.docker.image.rootfs.diff.tar{suffix}" for suffix in ("", ".gzip", ".zstd")}
    | {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
)

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_IMAGE_NAME = "io.containerd.image.name"

DigestText = Annotated[str, msgspec.Meta(pattern=PATTERN)]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Document = TypeVar("Document")


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """The machine an image is for, in Go's words (`amd64`, `linux`)."""

    architecture: str
    os: str
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A typed, sized, verified pointer to a blob; `size` in bytes."""

    media_type: Annotated[str, msgspec.Meta(min_length=1)]
    digest: DigestText
    size: Size
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image for one platform: its config and its layers, lowest first."""

    schema_version: Annotated[int, msgspec.Meta(ge=2, le=2)] = 2
    media_type: str = ""
    config: Descriptor
    layers: list[Descriptor]


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A list of manifests: one image for several platforms, or the table of contents of an image layout."""

    schema_version: Annotated[int, msgspec.Meta(ge=2, le=2)] = 2
    media_type: str = ""
    manifests: list[Descriptor]


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """How to ask a container whether it is well; times in nanoseconds, as Docker writes them."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ExecutionConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """The defaults for containers of an image; None is "not said", which differs from an empty list."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class RootFS(msgspec.Struct, frozen=True):
    """The layers by DiffID, lowest first."""

    type: str
    diff_ids: list[DigestText]


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of how the image was made; `empty_layer` steps have no DiffID."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document whose digest is the image ID. `created` is RFC 3339 text, kept as written."""

    architecture: str
    os: str
    rootfs: RootFS
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    docker_version: str = ""
    container: str = ""  # Docker's: the id of the container that was committed
    config: ExecutionConfig | None = None
    history: list[History] | None = None

    @property
    def execution(self) -> ExecutionConfig:
        """The defaults for containers, an empty set if the document has none."""
        return self.config or ExecutionConfig()


class _Members(msgspec.Struct, rename="camel"):
    """The members by which a document shows what it is; a raw one is there or not, whatever is in it."""

    media_type: str = ""
    schema_version: int = 0
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    fs_layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Pointers(msgspec.Struct):
    """The members of a document that are descriptors."""

    manifests: list[Descriptor] = []
    config: Descriptor | None = None
    layers: list[Descriptor] = []


def parse_document(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; `media_type` is what the pointer to it (or the HTTP header) announced, ""
    if nothing.

    Raises InvalidParameter for anything ambiguous or malformed, Unsupported for schema 1.
    """
    members = decode(data, _Members, "manifest")
    _refuse_repeated_keys(data)
    if members.fs_layers is not msgspec.UNSET or members.schema_version == 1:
        raise Unsupported(
            "manifest schema 1 is not supported: the image must be pushed again by a current tool"
        )
    has_manifests = members.manifests is not msgspec.UNSET
    has_layers = members.layers is not msgspec.UNSET or members.config is not msgspec.UNSET
    if has_manifests == has_layers:
        raise InvalidParameter("ambiguous manifest: it must have either 'manifests' or 'config' and 'layers'")
    allowed, default = (INDEX_TYPES, OCI_INDEX) if has_manifests else (MANIFEST_TYPES, OCI_MANIFEST)
    declared = members.media_type or media_type or default
    if declared not in allowed or (media_type and media_type != declared):
        raise InvalidParameter(
            f"manifest has media type {declared!r}, which contradicts {media_type or 'its content'!r}"
        )
    if has_manifests:
        return msgspec.structs.replace(decode(data, Index, "index"), media_type=declared)
    manifest = msgspec.structs.replace(decode(data, Manifest, "manifest"), media_type=declared)
    if manifest.config.media_type not in CONFIG_TYPES:
        raise Unsupported(
            f"this is not a container image: its config is of type {manifest.config.media_type!r}"
        )
    for layer in manifest.layers:
        if layer.media_type not in LAYER_TYPES:
            raise Unsupported(f"this is not a container image: it has a layer of type {layer.media_type!r}")
    return manifest


def parse_manifest(data: bytes, media_type: str = "") -> Manifest:
    """Read a document that must be a manifest."""
    document = parse_document(data, media_type)
    if not isinstance(document, Manifest):
        raise InvalidParameter("expected an image manifest, found an index")
    return document


def parse_index(data: bytes, media_type: str = "") -> Index:
    """Read a document that must be an index."""
    document = parse_document(data, media_type)
    if not isinstance(document, Index):
        raise InvalidParameter("expected an image index, found a manifest")
    return document


def pointers(data: bytes) -> list[Descriptor]:
    """Return all that an index or a manifest of any kind points to: only to know what belongs together."""
    members = decode(data, _Pointers, "document")
    return [*members.manifests, *([members.config] if members.config else ()), *members.layers]


def parse_config(data: bytes) -> ImageConfig:
    """Read an image config; its digest is not checked here."""
    config = decode(data, ImageConfig, "image config")
    _refuse_repeated_keys(data)
    if config.rootfs.type != "layers":
        raise InvalidParameter(f"image config has an unknown rootfs type {config.rootfs.type!r}")
    return config


def created_time(text: str | None) -> float:
    """Return RFC 3339 text as seconds since 1970; 0 for none or for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def architecture(name: str) -> str:
    """Return Go's word for a kind of processor that may have the kernel's or a user's."""
    return {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}.get(name, name)


def host_platform() -> Platform:
    """Return the platform of this machine, in Go's words."""
    return Platform(architecture(os.uname().machine), "linux")


def parse_platform(text: str) -> Platform:
    """Read what a client says of a platform: `linux/arm64`, `linux`, `arm64`, or since API 1.48 JSON with
    `os` and `architecture`. What is left out is this machine's; InvalidParameter for what is no platform.
    """
    host = host_platform()
    if text.startswith("{"):
        try:
            given = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise InvalidParameter(f"invalid platform: {text}") from None
        system, processor = given.get("os") or host.os, given.get("architecture") or ""
    else:
        system, _, more = text.partition("/")
        processor = more.partition("/")[0]
        if not more and system != host.os:
            system, processor = host.os, system
    if not all(isinstance(word, str) and re.fullmatch(r"[\w.-]*", word) for word in (system, processor)):
        raise InvalidParameter(f"invalid platform: {text}")
    return Platform(architecture(processor.lower()) or host.architecture, system.lower() or host.os)


def encode(document: msgspec.Struct) -> bytes:
    """Encode a document that we are the author of, indented and newline-terminated: it will be read by
    people."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, kind: type[Document], name: str) -> Document:
    """Read JSON that strangers wrote; InvalidParameter for what is not `kind`, or would fill our memory."""
    if len(data) > DOCUMENT_SIZE_MAX:
        raise InvalidParameter(f"{name} is larger than {DOCUMENT_SIZE_MAX} bytes")
    if sum(data.count(mark) for mark in b",[{") > VALUES_MAX:
        raise InvalidParameter(f"{name} has more than {VALUES_MAX} values")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"invalid {name}: {error}") from None


def _refuse_repeated_keys(data: bytes) -> None:
    """Refuse a key that stands twice, where readers disagree which one counts (some even ignore case at
    the top)."""
    try:
        top = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"invalid document: {error}") from None
    if len({key.casefold() for key in top}) != len(top):
        raise InvalidParameter("ambiguous document: two members differ only in case")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members
