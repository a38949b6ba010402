"""References: the names that people give to images, and their one full form.

What people type (`busybox`) leaves out what everybody means (`docker.io/library/busybox:latest`). Inside
minidock a reference is always complete; on a screen it is always *familiar*, that is shortened again, so
that both directions must lose nothing. Grammar and error sentences: distribution/reference, as the Docker
CLI and the engine use it.

    reference   name [":" tag] ["@" digest]
    name        [domain "/"] component {"/" component}
    domain      host [":" port]; the first component is one only if it contains "." or ":" or an upper-case
                letter, or is "localhost"
"""

import re
from dataclasses import dataclass, replace

from minidock.errors import InvalidParameter
from minidock.formats.digest import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
LEGACY_DOMAIN = "index.docker.io"
OFFICIAL_PREFIX = "library/"
NAME_LENGTH_MAX = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_reference = re.compile(
    rf"\A(?:(?P<domain>{_HOST})/)?(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?\Z"
)
_tag = re.compile(rf"\A{_TAG}\Z")
_identifier = re.compile(r"\A[a-f0-9]{64}\Z")


@dataclass(frozen=True)
class Reference:
    """A complete reference; `str()` gives the full form, `familiar` the short one."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The full repository name: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository name as people know it: `busybox`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        if self.path.startswith(OFFICIAL_PREFIX) and self.path.count("/") == 1:
            return self.path.removeprefix(OFFICIAL_PREFIX)
        return self.path

    @property
    def familiar(self) -> str:
        """The whole reference as people know it: `busybox:latest`."""
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> "Reference":
        """Return the reference with `:latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read what a person typed into a complete reference, without adding a tag.

    Raises InvalidParameter with Docker's sentences.
    """
    if _identifier.match(text):
        raise InvalidParameter(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, remainder = _split_domain(text)
    path = remainder.partition(":")[0].partition("@")[0]
    if path != path.lower():
        raise InvalidParameter(f"invalid reference format: repository name ({path}) must be lowercase")
    match = _reference.match(f"{domain}/{remainder}")
    if match is None or match["domain"] is None:
        raise InvalidParameter("invalid reference format")
    if len(match["path"]) > NAME_LENGTH_MAX:
        raise InvalidParameter(f"repository name must not be more than {NAME_LENGTH_MAX} characters")
    digest = parse_digest(match["digest"]) if match["digest"] else None
    return Reference(match["domain"], match["path"], match["tag"], digest)


def is_tag(text: str) -> bool:
    """Tell whether `text` may stand as a tag."""
    return _tag.match(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    """Split what was typed into domain and remainder: `a/b` is on Docker Hub, `a.b/c` and `localhost/c`
    are not."""
    first, slash, rest = text.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost" or first != first.lower()
    domain, remainder = (first, rest) if slash and is_domain else (DEFAULT_DOMAIN, text)
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = OFFICIAL_PREFIX + remainder
    return domain, remainder
