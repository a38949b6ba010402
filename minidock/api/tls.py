"""TLS for clients over the network: who may come in, and how a session that leaves HTTP goes on.

Whoever can use this API is root on the host, so TLS means mutual TLS: without a client certificate of our CA
nobody gets past the handshake. An encrypted socket cannot be given to a shim, so a hijacked one is relayed
here, on one thread (an SSL object is not made for two), and ends with the daemon. RFC 8446; OpenSSL's ssl(7).
"""

import contextlib
import os
import select
import socket
import ssl
import threading
from dataclasses import dataclass

from minidock.errors import InvalidParameter

HANDSHAKE_TIMEOUT = 10.0
FAREWELL_TIMEOUT = 1.0
BUFFER = 256 * 1024
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Files:
    """The three PEM files; `verify` asks clients for a certificate of the CA."""

    ca: str
    certificate: str
    key: str
    verify: bool = True


def server_context(files: Files) -> ssl.SSLContext:
    """Return the context of a server; InvalidParameter names the file that is missing or wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name, path in (("certificate", files.certificate), ("key", files.key), ("CA", files.ca)):
        if (name != "CA" or files.verify) and not os.path.isfile(path):
            raise InvalidParameter(f"could not read the TLS {name} {path!r}: no such file")
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (ssl.SSLError, OSError) as error:
        raise InvalidParameter(
            f"could not load the X509 key pair (cert: {files.certificate!r}, key: {files.key!r}): {error}"
        ) from None
    if files.verify:
        try:
            context.load_verify_locations(files.ca)
        except (ssl.SSLError, OSError) as error:
            raise InvalidParameter(f"could not read the CA certificate {files.ca!r}: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def accept(client: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Do the handshake on a fresh connection; OSError (ssl.SSLError) when the client is not let in."""
    client.settimeout(HANDSHAKE_TIMEOUT)
    secure = context.wrap_socket(client, server_side=True)
    secure.settimeout(None)
    return secure


def relay(client: ssl.SSLSocket) -> int:
    """Give a plain socket whose other end carries on to `client`; the caller owns the returned descriptor.

    From now on `client` belongs to the relay.
    """
    ours, theirs = socket.socketpair()
    threading.Thread(target=_carry, args=(client, ours), name="tls-relay", daemon=True).start()
    return theirs.detach()


class _Pipe:
    """One direction: what was read from one end and not written to the other."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False  # the source has sent its last byte
        self.closed = False  # and the target has been told

    @property
    def wants_more(self) -> bool:
        return not self.ended and len(self.data) < BUFFER


def _carry(client: ssl.SSLSocket, plain: socket.socket) -> None:
    inwards, outwards = _Pipe(), _Pipe()
    client.setblocking(False)
    plain.setblocking(False)
    try:
        while not outwards.closed:
            _wait(client, plain, inwards, outwards)
            _read(client, inwards)
            _read(plain, outwards)
            _write(plain, inwards)
            _write(client, outwards)
            if inwards.ended and not inwards.data and not inwards.closed:
                inwards.closed = True
                plain.shutdown(socket.SHUT_WR)  # half of the protocol: the end of the client's input
            outwards.closed = outwards.ended and not outwards.data
        client.settimeout(FAREWELL_TIMEOUT)
        client.unwrap()  # a TLS end: without it the client would take the end for a broken connection
    except OSError:
        pass  # one of the two has left: so does the other
    finally:
        plain.close()
        with contextlib.suppress(OSError):
            client.close()


def _wait(client: ssl.SSLSocket, plain: socket.socket, inwards: _Pipe, outwards: _Pipe) -> None:
    if inwards.wants_more and client.pending():
        return
    poller = select.poll()
    poller.register(client, _events(inwards, outwards))
    poller.register(plain, _events(outwards, inwards))
    poller.poll()


def _events(reading: _Pipe, writing: _Pipe) -> int:
    return (select.POLLIN if reading.wants_more else 0) | (select.POLLOUT if writing.data else 0)


def _read(source: socket.socket, pipe: _Pipe) -> None:
    if not pipe.wants_more:
        return
    try:
        data = source.recv(CHUNK)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return
    pipe.data += data
    pipe.ended = not data


def _write(target: socket.socket, pipe: _Pipe) -> None:
    try:
        while pipe.data:
            del pipe.data[: target.send(pipe.data[:CHUNK])]
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
