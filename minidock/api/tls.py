"""TLS for clients over the network: who may come in, and how a session that leaves HTTP goes on.

Whoever can use this API is root on the host, so TLS means mutual TLS: without a client certificate of our CA
nobody gets past the handshake. RFC 8446; OpenSSL's ssl(7).
"""

import os
import socket
import ssl
from dataclasses import dataclass

from minidock.errors import InvalidParameter

HANDSHAKE_TIMEOUT = 10.0


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
