"""TLS below HTTP: a socket that encrypts, with just the methods that the connection and a session call.

Built on memory BIOs and not on Python's own SSLSocket, which cannot say "that was all of my input" and go on
reading: its shutdown ends the TCP stream without TLS's own end, and `echo x | minidock run -i` would break.
Only imported for an engine over the network. RFC 8446; OpenSSL's SSL_shutdown(3).
"""

from __future__ import annotations

import _socket
import select
import ssl

from minidock.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.endpoint import Files

RECORD = 16384  # what one TLS record carries at most
FAREWELL_MS = 1000
UNKNOWN_AUTHORITY = (18, 19, 20, 21)  # X509_V_ERR_*: self-signed, or no issuer that we know
ALERTS = {"UNKNOWN_CA": "unknown certificate authority"}
REASONS = {"KEY_VALUES_MISMATCH": "private key does not match public key"}


class TlsSocket:
    """A connected socket and its encryption; blocking or not, as `_socket.socket` is."""

    def __init__(self, plain: _socket.socket, name: str, files: Files) -> None:
        """Do the handshake with the engine called `name`; `plain` is ours from now on, also on failure."""
        self._socket = plain
        self._unsent = b""  # encrypted
        self._owed = 0  # bytes of the caller's that are encrypted and not reported as sent
        self._ended = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = _context(files).wrap_bio(self._incoming, self._outgoing, server_hostname=name)
            self._shake()
        except BaseException:
            plain.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        self._socket.setblocking(flag)

    def close(self) -> None:
        self._socket.close()

    def detach(self) -> int:
        return self._socket.detach()

    def recv(self, size: int) -> bytes:
        """Return all that is decrypted, b"" at the end; reads at most `size` encrypted bytes at a time."""
        while not self._ended:
            data = self._decrypted()
            if data or self._ended:
                return data
            received = self._socket.recv(size)
            if not received:
                self._ended = True
            self._incoming.write(received)
        return b""

    def sendall(self, data: bytes) -> None:
        for start in range(0, len(data), RECORD):
            self._tls.write(data[start : start + RECORD])
            self._flush()

    def send(self, data: bytes) -> int:
        """Send a first part of `data`, return its length; after BlockingIOError come with the same data."""
        if not self._owed:
            self._owed = self._tls.write(data[:RECORD])
        self._flush()
        sent, self._owed = self._owed, 0
        return sent

    def shutdown(self, how: int) -> None:
        """End our half only, as SHUT_WR: the engine reads an end, and what it says is still received."""
        assert how == _socket.SHUT_WR
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the other half is open
        while True:
            try:
                return self._flush()
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._socket.fileno(), select.POLLOUT)
                if not poll.poll(FAREWELL_MS):
                    raise

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return self._flush()
            except ssl.SSLWantReadError:
                self._flush()
            received = self._socket.recv(RECORD)
            if received:
                self._incoming.write(received)
            else:
                self._incoming.write_eof()

    def _decrypted(self) -> bytes:
        parts = []
        try:
            while part := self._tls.read(RECORD):
                parts.append(part)
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        return b"".join(parts)

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if files.authority:
        try:
            context.load_verify_locations(files.authority)
        except ssl.SSLError:
            raise _unusable("ca.pem seems invalid") from None
    else:
        context.load_default_certs()
    if files.certificate and files.key:
        try:
            context.load_cert_chain(files.certificate, files.key)
        except ssl.SSLError as error:
            why = REASONS.get(error.reason or "") or "failed to find any PEM data in certificate or key"
            raise _unusable(f"tls: {why}") from None
    return context


def problem(error: OSError) -> str:
    """Return what went wrong with an encrypted connection, in the words of docker where they are known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = error.verify_code in UNKNOWN_AUTHORITY
        why = "x509: certificate signed by unknown authority" if unknown else error.verify_message
        return f"tls: failed to verify certificate: {why}"
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    _, alert, reason = (error.reason or "").partition("ALERT_")
    if alert:
        return f"remote error: tls: {ALERTS.get(reason) or _words(reason)}"
    return f"tls: {_words(error.reason or str(error))}"


def _unusable(why: str) -> Failure:
    return Failure(f"Failed to initialize: failed to retrieve context tls info: {why}")


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
