"""The names people type: completed, shortened again, and refused with Docker's sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.reference import Reference, is_tag, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("typed", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("10.2.15.190:5000/tankywoo", "10.2.15.190:5000/tankywoo", "10.2.15.190:5000/tankywoo"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("Registry/app", "Registry/app", "Registry/app"),
        ("gcr.io/a/b/c__d-e.f", "gcr.io/a/b/c__d-e.f", "gcr.io/a/b/c__d-e.f"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("localhost", "docker.io/library/localhost", "localhost"),
        ("sha256:abc", "docker.io/library/sha256:abc", "sha256:abc"),
    ],
)
def test_a_reference_is_completed_and_shortened_again(typed: str, full: str, familiar: str) -> None:
    reference = parse_reference(typed)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert parse_reference(full) == parse_reference(familiar) == reference


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/../b", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("a:b\n", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a@sha256:abc", "invalid reference format"),
        ("http://a/b", "invalid reference format"),
        ("BusyBox", r"invalid reference format: repository name \(library/BusyBox\) must be lowercase"),
        ("user/App:x", r"invalid reference format: repository name \(user/App\) must be lowercase"),
        ("a" * 64, "cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("a@sha256:" + "a" * 63, "invalid checksum digest length"),
    ],
)
def test_bad_references_get_dockers_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        parse_reference(typed)


def test_the_default_tag_is_latest_only_where_nothing_is_said() -> None:
    assert parse_reference("a").with_default_tag().familiar == "a:latest"
    assert parse_reference("a:b").with_default_tag().familiar == "a:b"
    assert parse_reference(f"a@{DIGEST}").with_default_tag().tag is None


def test_tags_have_their_own_grammar() -> None:
    assert is_tag("1.0_x-Y")
    assert not is_tag(".x")
    assert not is_tag("a/b")


_component = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,2}", fullmatch=True)
_tag = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(st.lists(_component, min_size=1, max_size=4), _tag, st.sampled_from([None, DIGEST]))
def test_parsing_undoes_writing(path: list[str], tag: str | None, digest: str | None) -> None:
    reference = Reference("registry.example:5000", "/".join(path), tag, digest)
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text())
def test_no_text_raises_anything_but_our_errors(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidParameter:
        return
    assert parse_reference(str(reference)) == reference
