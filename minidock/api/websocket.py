"""The server's half of a websocket: its handshake, and a byte stream in and out of its frames.

A browser terminal attaches this way. A client's frames are masked, ours are not; control frames may come
between any two others. Text and binary frames mean the same here: bytes. RFC 6455, sections 4.2 and 5.
"""

import base64
import binascii
import hashlib

from minidock.api.connection import Head
from minidock.errors import InvalidParameter

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR = 1000, 1002
CONTROL_LIMIT = 125
KEY_SIZE = 16


def accept(head: Head) -> list[str]:
    """Return the header lines that agree to become a websocket; InvalidParameter for any other request."""
    headers = head.headers
    if not head.wants_upgrade or headers["upgrade"].lower() != "websocket":
        raise InvalidParameter("missing or bad upgrade: this route speaks websocket")
    if headers.get("sec-websocket-version") != "13":
        raise InvalidParameter("missing or bad WebSocket Version: it is 13")
    key = headers.get("sec-websocket-key", "").strip()
    try:
        if len(base64.b64decode(key, validate=True)) != KEY_SIZE:
            raise ValueError(key)
    except (ValueError, binascii.Error):
        raise InvalidParameter("missing or bad Sec-WebSocket-Key") from None
    answer = base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()
    return ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {answer}"]


class Frames:
    """The form of a websocket (`relaying.Codec`). Data frames, of any length, are passed on as they come."""

    def __init__(self) -> None:
        self.has_ended = False
        self.replies = bytearray()
        self._buffer = bytearray()
        self._opcode = CONTINUATION
        self._left = 0  # bytes of the frame's payload that have not come yet
        self._mask = b""

    def decode(self, data: bytes) -> bytes:
        """Return the payload of data frames in `data`; control frames are answered in `replies`."""
        self._buffer += data
        found = bytearray()
        while not self.has_ended and (self._left or self._begin()):
            piece = bytes(self._buffer[: self._left])
            is_control = self._opcode >= CLOSE
            if is_control and len(piece) < self._left:
                break
            del self._buffer[: len(piece)]
            self._left -= len(piece)
            plain = _unmasked(piece, self._mask)
            self._mask = self._mask[len(piece) % 4 :] + self._mask[: len(piece) % 4]
            if is_control:
                self._control(plain)
            else:
                found += plain
            if not piece and self._left:
                break
        return bytes(found)

    def encode(self, data: bytes) -> bytes:
        """Return one binary frame."""
        return _frame(BINARY, data)

    def farewell(self) -> bytes:
        """Return the frame that ends the session."""
        return _frame(CLOSE, NORMAL.to_bytes(2, "big"))

    def _begin(self) -> bool:
        """Read the head of the next frame, and return whether it was all there and has a payload to come."""
        buffer = self._buffer
        while len(buffer) >= 2:
            length, size = buffer[1] & 127, 2
            if length > CONTROL_LIMIT:
                size += 2 if length == 126 else 8
                length = int.from_bytes(buffer[2:size], "big")
            if len(buffer) < size + 4:
                return False
            self._opcode = buffer[0] & 15
            is_control = self._opcode >= CLOSE
            is_known = self._opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
            whole = buffer[0] & 128
            if (
                not (buffer[1] & 128 and is_known)
                or buffer[0] & 0x70
                or (is_control and (length > CONTROL_LIMIT or not whole))
            ):
                self._end(PROTOCOL_ERROR)
                return False
            self._mask, self._left = bytes(buffer[size : size + 4]), length
            del buffer[: size + 4]
            if length:
                return True
            if is_control:
                self._control(b"")
                if self.has_ended:
                    return False
        return False

    def _control(self, payload: bytes) -> None:
        if self._opcode == CLOSE:
            self._end(int.from_bytes(payload[:2], "big") or NORMAL)
        elif self._opcode == PING:
            self.replies += _frame(PONG, payload)

    def _end(self, code: int) -> None:
        self.has_ended = True
        self.replies += _frame(CLOSE, code.to_bytes(2, "big"))


def _frame(opcode: int, data: bytes) -> bytes:
    length = len(data)
    if length <= CONTROL_LIMIT:
        size = bytes([length])
    elif length < 1 << 16:
        size = bytes([126]) + length.to_bytes(2, "big")
    else:
        size = bytes([127]) + length.to_bytes(8, "big")
    return bytes([128 | opcode]) + size + data


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Return data XOR mask, as one big number: a loop over bytes would be a hundred times slower."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")
