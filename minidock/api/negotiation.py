"""Which API version a request speaks: the `/v1.43` before its path, or ours when there is none.

Clients ask `/_ping` or `/version` first and then use the lower of both versions; a few old ones (skopeo:
1.22, docker 0.10: 1.10) never ask, so versions far below Docker's own minimum are served too.
"""

import re

from minidock.api.exchange import ApiVersion
from minidock.errors import InvalidParameter

CURRENT: ApiVersion = (1, 50)
MINIMUM: ApiVersion = (1, 10)
JSON_ERRORS_SINCE: ApiVersion = (1, 24)
MULTIPLEXED_TYPE_SINCE: ApiVersion = (1, 42)

_PREFIX = re.compile(r"/v(\d{1,4})\.(\d{1,4})(?=/|$)")


def split_version(path: str) -> tuple[ApiVersion, str]:
    """Return the version asked for and the path without it; InvalidParameter for one we do not speak."""
    match = _PREFIX.match(path)
    if match is None:
        return CURRENT, path
    asked = (int(match[1]), int(match[2]))
    if asked > CURRENT:
        message = (
            f"client version {spell(asked)} is too new. Maximum supported API version is {spell(CURRENT)}"
        )
        raise InvalidParameter(message)
    if asked < MINIMUM:
        raise InvalidParameter(
            f"client version {spell(asked)} is too old. Minimum supported API version is {spell(MINIMUM)}, "
            "please upgrade your client to a newer version"
        )
    return asked, path[match.end() :] or "/"


def spell(version: ApiVersion) -> str:
    """Return "1.50" for (1, 50)."""
    return f"{version[0]}.{version[1]}"
