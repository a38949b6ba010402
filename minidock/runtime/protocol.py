"""Messages between daemon, spawner, shim and init: one small JSON object with descriptors.

SOCK_SEQPACKET keeps message borders, so nobody has to frame. A datagram above about 200 KB fails, so what has
grown (an exec inherits an environment of 2 MB) travels as a sealed memfd among the descriptors. unix(7),
SCM_RIGHTS; at most 253 descriptors a message.
"""

import array
import errno
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from minidock.kernel import process

MAXIMUM_DATAGRAM = 64 * 1024
MAXIMUM_MESSAGE = 16 * 1024 * 1024
MAXIMUM_DESCRIPTORS = 253
ELSEWHERE = b"@"  # not JSON: the message is the content of the last descriptor
CONTROL_SOCKET = "s"  # the shim's, in the container's socket directory

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that keep message borders."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send `message` and duplicates of `descriptors`; the caller keeps its own."""
    data = json.dumps(message).encode()
    if len(data) > MAXIMUM_DATAGRAM:
        copy = process.sealed_memfd("message", data)
        try:
            socket.send_fds(channel, [ELSEWHERE], [*descriptors, copy])
        finally:
            os.close(copy)
    elif descriptors:
        socket.send_fds(channel, [data], list(descriptors))
    else:
        channel.send(data)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for one message; None at the end. The caller owns the descriptors (close-on-exec).

    OSError(EBADMSG) for what is no message of ours; its descriptors are closed.
    """
    try:
        data, descriptors, flags = _receive_with_descriptors(channel)
    except ConnectionResetError:
        return None
    if not data:
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("it was cut: too long, or too many descriptors")
        if data == ELSEWHERE:
            data = _take(descriptors)
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("it is not an object")
    except (ValueError, RecursionError, OSError) as error:
        close_all(descriptors)
        raise OSError(errno.EBADMSG, f"not a message: {error}") from error
    return message, descriptors


def _receive_with_descriptors(channel: socket.socket) -> tuple[bytes, list[int], int]:
    """Return data, descriptors and flags of one datagram.

    Not socket.recv_fds: up to Python 3.12 it ignores its flags, and the descriptors would survive an exec.
    """
    received = array.array("i")
    room = socket.CMSG_SPACE(MAXIMUM_DESCRIPTORS * received.itemsize)
    data, ancillary, flags, _ = channel.recvmsg(MAXIMUM_DATAGRAM, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    return data, list(received), flags


def _take(descriptors: list[int]) -> bytes:
    """Read the message from the last of `descriptors`, which is closed and taken off the list."""
    if not descriptors:
        raise ValueError("its text is missing")
    copy = descriptors.pop()
    try:
        size = os.fstat(copy).st_size
        if size > MAXIMUM_MESSAGE or process.seals(copy) != process.SEALS:
            raise ValueError("its text is too long or not sealed")
        return os.pread(copy, size, 0)
    finally:
        os.close(copy)


def close_all(descriptors: Sequence[int]) -> None:
    """Close every descriptor in `descriptors`."""
    for descriptor in descriptors:
        os.close(descriptor)


def listen(directory: str, name: str) -> socket.socket:
    """Bind a listening socket `name` (mode 0600) in `directory`, however long the directory's path is.

    A socket path is limited to 108 bytes, so it is bound below /proc/self/fd.
    """
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.fchmod(listener.fileno(), 0o600)  # the file gets the socket's own mode: no moment with a wider one
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener


def connect(directory: str, name: str, timeout: float | None = None) -> socket.socket:
    """Connect to the socket `name` in `directory`."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.settimeout(timeout)
        channel.connect(f"/proc/self/fd/{descriptor}/{name}")
    except BaseException:
        channel.close()
        raise
    finally:
        os.close(descriptor)
    return channel
