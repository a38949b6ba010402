"""Fetch one file over HTTP, as a stream: what `docker import URL` asks of the engine.

The caller of the API is as mighty as root, so the address is not judged; but only http and https are spoken,
no credentials are sent, and all waiting ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from urllib3 import exceptions

from minidock.errors import InvalidParameter, Unavailable

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 60.0
REDIRECTS_MAX = 5
ERROR_STATUS = 400


class Body:
    """What the server sends, as it comes; Unavailable when it stops in between. `size` is 0 if unknown."""

    def __init__(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        self._url = url
        self._response = response
        told = response.headers.get("Content-Length", "")
        self.size = int(told) if told.isascii() and told.isdecimal() else 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        try:
            return self._response.read(size, decode_content=False)
        except (exceptions.HTTPError, OSError) as error:
            raise _failure(self._url, error) from error


@contextmanager
def opened(url: str) -> Iterator[Body]:
    """Open `url` (`http://` if no scheme is said) for the duration of a block."""
    address = url if "://" in url else f"http://{url}"
    scheme = address.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise InvalidParameter(f'Get "{address}": unsupported protocol scheme "{scheme}"')
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
    retries = urllib3.Retry(connect=0, read=0, redirect=REDIRECTS_MAX, status=0, other=0)
    with urllib3.PoolManager(timeout=timeout, retries=retries) as pool:
        try:
            response = pool.request("GET", address, preload_content=False, headers={"Accept": "*/*"})
        except (exceptions.HTTPError, OSError, ValueError) as error:
            raise _failure(address, error) from error
        try:
            if response.status >= ERROR_STATUS:
                raise Unavailable(f"failed to GET {address} with status {response.status} {response.reason}")
            yield Body(address, response)
        finally:
            response.close()


def _failure(url: str, error: BaseException) -> Unavailable:
    """Say what failed in the innermost words: urllib3 wraps the interesting error several times."""
    inner = error
    while isinstance(reason := getattr(inner, "reason", None) or inner.__cause__, BaseException):
        inner = reason
    return Unavailable(f'Get "{url}": {getattr(inner, "strerror", None) or inner}')
