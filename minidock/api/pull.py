"""`docker pull` without a registry client: the built-in image, or the reason why the registry cannot be had.

"Cannot pull" helps nobody: whether the name, the network, TLS or the registry itself fails is found by
really trying, in a thread of its own, since getaddrinfo(3) cannot be interrupted and the client may leave.
"""

import os
import threading
from dataclasses import dataclass

from minidock.api.exchange import Exchange
from minidock.api.progress import progress
from minidock.engine.engine import Engine
from minidock.errors import InvalidParameter, Unavailable, Unsupported
from minidock.formats.reference import DEFAULT_DOMAIN, Reference, parse_reference
from minidock.storage import hostbox

# Where Docker Hub's registry really is; its domain in a reference is that of its web site.
DOCKER_HUB_REGISTRY = "registry-1.docker.io"
PROBE_TIMEOUT = 12.0
WAYS_OUT = (
    "Without a registry there are: the built-in image `hostbox` (docker run hostbox), `docker load -i FILE` "
    "and `docker import FILE NAME`."
)


def pull(engine: Engine, exchange: Exchange, image: str, tag: str) -> None:
    """Answer `POST /images/create?fromImage=`."""
    reference = _reference(image, tag)
    if reference.domain == DEFAULT_DOMAIN and reference.path == "library/hostbox":
        _make_hostbox(engine, exchange, reference)
        return
    registry = DOCKER_HUB_REGISTRY if reference.domain == DEFAULT_DOMAIN else reference.domain
    finding = _probe_watched(exchange, registry)
    if finding.reachable:
        raise Unsupported(
            f"cannot pull {reference.familiar}: {finding.sentence}, but pulling is not served by this "
            f"version of minidock yet. {WAYS_OUT}"
        )
    raise Unavailable(f"cannot pull {reference.familiar}: {finding.sentence}. {WAYS_OUT}")


def _reference(image: str, tag: str) -> Reference:
    separator = "@" if ":" in tag else ":"
    return parse_reference(f"{image}{separator}{tag}" if tag else image).with_default_tag()


def _make_hostbox(engine: Engine, exchange: Exchange, reference: Reference) -> None:
    if reference.familiar != hostbox.REFERENCE:
        raise InvalidParameter(f"the built-in image has one name only: {hostbox.REFERENCE}")
    with progress(exchange) as messages:
        messages.send({"status": "Making the built-in image from this host's own files", "id": "hostbox"})
        image = hostbox.ensure(engine.images)
        messages.send({"status": f"Status: {hostbox.REFERENCE} is ready ({image.id})"})


@dataclass
class Finding:
    """What became of the attempt to reach a registry."""

    reachable: bool = False
    sentence: str = "the network did not answer in time"


def _probe_watched(exchange: Exchange, registry: str) -> Finding:
    """Probe in a thread, and wait for it or for the client to leave (ConnectionAbortedError)."""
    finding = Finding()
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def probe_and_tell() -> None:
        from minidock.api.reaching import probe  # urllib3 costs the start of the daemon a third of its time

        try:
            finding.reachable, finding.sentence = probe(registry)
        finally:
            os.close(writer)

    try:
        threading.Thread(target=probe_and_tell, name=f"probe {registry}", daemon=True).start()
        exchange.watch(reader, timeout=PROBE_TIMEOUT)
    finally:
        os.close(reader)
    return finding
