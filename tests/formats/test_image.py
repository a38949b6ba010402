"""Image documents: what two readers could understand in two ways is refused."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter, MinidockError, Unsupported
from minidock.formats.digest import digest_of
from minidock.formats.image import (
    DOCKER_MANIFEST,
    DOCUMENT_SIZE_MAX,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    VALUES_MAX,
    Descriptor,
    ExecutionConfig,
    ImageConfig,
    Index,
    Manifest,
    RootFS,
    created_time,
    encode,
    host_platform,
    parse_config,
    parse_document,
    parse_index,
    parse_manifest,
    parse_platform,
)

DIGEST = digest_of(b"")
CONFIG = {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": OCI_LAYER + "+gzip", "digest": DIGEST, "size": 3}
MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 4}],
}


def document(base: dict[str, object], **changes: object) -> bytes:
    return json.dumps({**base, **changes}).encode()


def test_a_manifest_and_an_index_are_told_apart_by_their_content() -> None:
    assert parse_manifest(document(MANIFEST)).layers[0].size == 3
    assert parse_index(document(INDEX), OCI_INDEX).manifests[0].media_type == OCI_MANIFEST
    without_type = {key: value for key, value in MANIFEST.items() if key != "mediaType"}
    assert parse_document(document(without_type)).media_type == OCI_MANIFEST
    assert parse_document(document(without_type), DOCKER_MANIFEST).media_type == DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("data", "announced"),
    [
        (document(MANIFEST, manifests=[]), ""),
        (document(INDEX, layers=[]), ""),
        (document(INDEX, config=CONFIG), ""),
        (document(INDEX, layers=None), ""),
        (document(MANIFEST), OCI_INDEX),
        (document(MANIFEST), DOCKER_MANIFEST),
        (document(MANIFEST, mediaType=OCI_INDEX), ""),
        (document(INDEX, mediaType=OCI_MANIFEST), ""),
        (document(MANIFEST, schemaVersion=3), ""),
        (document(MANIFEST, config={**CONFIG, "size": -1}), ""),
        (document(MANIFEST, config={**CONFIG, "size": 1 << 70}), ""),
        (document(MANIFEST, config={**CONFIG, "size": 2.5}), ""),
        (document(MANIFEST, config={**CONFIG, "digest": "sha256:../../x"}), ""),
        (document(MANIFEST, config={**CONFIG, "digest": DIGEST + "\n"}), ""),
        (document(MANIFEST, config={**CONFIG, "digest": "md5:abc"}), ""),
        (document(MANIFEST, layers={}), ""),
        (document(MANIFEST, Layers=[]), ""),
        (document(MANIFEST)[:-1] + b', "layers": []}', ""),
        (document(MANIFEST)[:-1], ""),
        (b"[" * 100_000, ""),
        (b'{"schemaVersion":2,"x":' + b"[" * 100_000, ""),
        (b"\xff\xfe", ""),
        (b"", ""),
        (b"{}", ""),
        (b"null", ""),
        (b" " * (DOCUMENT_SIZE_MAX + 1), ""),
    ],
)
def test_ambiguous_and_malformed_documents_are_refused(data: bytes, announced: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_document(data, announced)


def test_what_is_no_container_image_is_said_to_be_none() -> None:
    with pytest.raises(Unsupported, match="schema 1"):
        parse_document(b'{"schemaVersion": 1, "fsLayers": [], "history": []}')
    with pytest.raises(Unsupported, match="not a container image"):
        parse_document(
            document(MANIFEST, config={**CONFIG, "mediaType": "application/vnd.oci.empty.v1+json"})
        )
    with pytest.raises(Unsupported, match="not a container image"):
        parse_document(document(MANIFEST, layers=[{**LAYER, "mediaType": "text/plain"}]))


def test_the_wrong_kind_is_named() -> None:
    with pytest.raises(InvalidParameter, match="found an index"):
        parse_manifest(document(INDEX))
    with pytest.raises(InvalidParameter, match="found a manifest"):
        parse_index(document(MANIFEST))


def test_a_docker_config_is_read_with_its_nulls_and_its_unknown_members() -> None:
    config = parse_config(
        json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-05-01T00:00:00.123456789Z",
                "container_config": {"Cmd": ["x"]},
                "config": {
                    "Env": ["PATH=/bin"],
                    "Cmd": None,
                    "Entrypoint": ["/init"],
                    "ExposedPorts": {"80/tcp": {}},
                    "OnBuild": None,
                    "WorkingDir": "/srv",
                    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
                },
                "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
                "history": [{"created_by": "/bin/sh -c #(nop) CMD", "empty_layer": True}],
            }
        ).encode()
    )
    assert config.execution.env == ["PATH=/bin"]
    assert config.execution.cmd is None
    assert config.execution.exposed_ports == {"80/tcp": {}}
    assert config.execution.healthcheck is not None
    assert config.execution.healthcheck.interval == 30_000_000_000
    assert created_time(config.created) == pytest.approx(1714521600.123456)


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": {"type": "other", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}},
        {"rootfs": None},
        {"config": {"Env": "A=b"}},
        {"config": {"User": 0}},
        {"os": 3},
    ],
)
def test_a_config_of_wrong_types_is_refused(changes: dict[str, object]) -> None:
    base = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    assert parse_config(json.dumps(base).encode()).os == "linux"
    with pytest.raises(InvalidParameter):
        parse_config(json.dumps({**base, **changes}).encode())


def test_our_own_documents_can_be_read_again() -> None:
    descriptor = Descriptor(OCI_CONFIG, DIGEST, 2)
    manifest = Manifest(media_type=OCI_MANIFEST, config=descriptor, layers=[Descriptor(OCI_LAYER, DIGEST, 5)])
    index = Index(
        media_type=OCI_INDEX, manifests=[Descriptor(OCI_MANIFEST, DIGEST, 9, annotations={"a": "b"})]
    )
    config = ImageConfig("amd64", "linux", RootFS("layers", [DIGEST]), config=ExecutionConfig(cmd=["sh"]))
    assert parse_manifest(encode(manifest)) == manifest
    assert parse_index(encode(index)) == index
    assert parse_config(encode(config)) == config
    assert encode(config).endswith(b"}\n")
    assert b'"Cmd": [' in encode(config)


def test_a_missing_or_odd_time_is_the_beginning_of_time() -> None:
    assert created_time(None) == created_time("") == created_time("yesterday") == 0


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([DIGEST, OCI_MANIFEST]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "os"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_no_document_raises_anything_but_our_errors(value: object) -> None:
    data = json.dumps(value).encode()
    for parse in (parse_document, parse_config):
        try:
            parse(data)
        except MinidockError:
            pass


@pytest.mark.parametrize("piece", [b"{},", b"[],", b"0,"])
def test_a_document_of_very_many_small_values_is_refused_before_it_fills_the_memory(piece: bytes) -> None:
    data = document(MANIFEST)[:-1] + b', "more": [' + piece * VALUES_MAX + b"0]}"
    tracemalloc.start()
    with pytest.raises(InvalidParameter, match="more than 50000 values"):
        parse_manifest(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/arm64", ("linux", "arm64")),
        ("linux/arm64/v8", ("linux", "arm64")),
        ("Linux/AArch64", ("linux", "arm64")),
        ("s390x", ("linux", "s390x")),
        ("linux", ("linux", host_platform().architecture)),
        ("windows/amd64", ("windows", "amd64")),
        ('{"os": "linux", "architecture": "x86_64"}', ("linux", "amd64")),
        ('{"architecture": "arm64"}', ("linux", "arm64")),
        ("{}", ("linux", host_platform().architecture)),
    ],
)
def test_a_platform_is_read_as_clients_say_it(text: str, expected: tuple[str, str]) -> None:
    found = parse_platform(text)
    assert (found.os, found.architecture) == expected


@pytest.mark.parametrize("text", ["{", "[]{", "linux/amd 64", '{"os": 1}', '{"architecture": ["amd64"]}'])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid platform"):
        parse_platform(text)
