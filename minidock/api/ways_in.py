"""Where clients come in, `unix://`, `tcp://` and `fd://` (sockets of systemd), and under which rules.

Over TCP anybody who can reach the port would be root, so a port without client certificates is opened on a
loopback address only, and then every request is looked at: a web page must not be able to send one (a browser
adds Origin, and a name that was made to point here is in Host). sd_listen_fds(3); security.md D2-D4.
"""

import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from minidock.api import tls
from minidock.api.listener import BACKLOG, Listener, listen
from minidock.errors import Forbidden, InvalidParameter

log = logging.getLogger(__name__)
PORT, TLS_PORT = 2375, 2376
FIRST_PASSED = 3  # the first descriptor that systemd passes
LOCAL_NAMES = frozenset({"localhost", "docker", "api.moby.localhost", ""})


@dataclass(frozen=True)
class Security:
    """How TCP is protected: by TLS files, or not at all (`insecure`: also off loopback)."""

    files: tls.Files | None = None
    insecure: bool = False

    @property
    def verifies(self) -> bool:
        """Whether a client must show a certificate."""
        return self.files is not None and self.files.verify


def open_listeners(host: str, group: str | None, security: Security) -> list[Listener]:
    """Listen on `host`; InvalidParameter, Forbidden or Conflict says why that cannot be."""
    scheme, separator, address = host.partition("://")
    if separator and scheme == "tcp":
        return [_listen_tcp(host, address, security)]
    if separator and scheme == "fd":
        return [_checked(one, security) for one in _passed(address, os.environ, os.getpid())]
    return [listen(host, group)]


def _listen_tcp(host: str, address: str, security: Security) -> Listener:
    name, port = _endpoint(host, address, TLS_PORT if security.files else PORT)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InvalidParameter(f"invalid host {host!r}: {error.strerror or error}") from None
    server = socket.socket(family, kind, protocol)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(place)
        server.listen(BACKLOG)
        return _checked(server, security)
    except BaseException:
        server.close()
        raise


def _endpoint(host: str, address: str, default: int) -> tuple[str, int]:
    name, separator, port = address.rstrip("/").rpartition(":")
    if not separator or "]" in port:
        name, port = address.rstrip("/"), ""
    if port and not (port.isdecimal() and int(port) < 65536):
        raise InvalidParameter(f"invalid host {host!r}: expected tcp://ADDRESS[:PORT]")
    return name.strip("[]"), int(port or default)


def _passed(which: str, environment: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Return the sockets that systemd has passed: all of them, or the one that is named by its number."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or not count.isdecimal() or int(count) < 1:
        raise InvalidParameter("no sockets were passed to this process: fd:// is for systemd's sockets")
    descriptors = list(range(FIRST_PASSED, FIRST_PASSED + int(count)))
    if which not in ("", "*"):
        if not which.isdecimal() or int(which) not in descriptors:
            raise InvalidParameter(f"invalid host 'fd://{which}': systemd has passed {descriptors}")
        descriptors = [int(which)]
    found = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


def _checked(server: socket.socket, security: Security) -> Listener:
    """Return the listener of a socket that is open, under the rules of its kind."""
    if server.family == socket.AF_UNIX:
        return Listener(server, "", (0, 0))
    place = server.getsockname()[0]
    if not security.verifies:
        if not ipaddress.ip_address(place).is_loopback and not security.insecure:
            raise Forbidden(
                f"refused to listen on tcp://{place} without client certificates: whoever can reach it would "
                "be root on this host (use --tlsverify, or --insecure-tcp if that is what you want)"
            )
        log.warning("the API on tcp://%s asks nobody who they are: whoever reaches it is root here", place)
    context: ssl.SSLContext | None = tls.server_context(security.files) if security.files else None
    return Listener(server, "", (0, 0), context)


def check_request(headers: Mapping[str, str], verified: bool) -> None:
    """Raise Forbidden for a request over TCP that a web page may have caused.

    With client certificates (`verified`) the name in Host is any that the certificate is for.
    """
    host = headers.get("host", "")
    if headers.get("origin", f"//{host}").partition("//")[2] != host:  # a websocket client names our own
        raise Forbidden("requests of another Origin are refused: no web page may use this API")
    name = _host_name(host)
    if not verified and name.lower() not in LOCAL_NAMES and not _is_address(name):
        raise Forbidden(f"requests for the host {name!r} are refused: use an address or localhost")


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
