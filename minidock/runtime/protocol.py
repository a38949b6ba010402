"""Messages between daemon, spawner, shim and init: one small JSON object with descriptors.

SOCK_SEQPACKET keeps message borders, so nobody has to frame. A datagram above about 200 KB fails, so what can
grow (the spec) travels as a sealed memfd among the descriptors. unix(7), SCM_RIGHTS; at most 253 descriptors
a message.
"""

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAXIMUM_MESSAGE = 128 * 1024
MAXIMUM_DESCRIPTORS = 253
CONTROL_SOCKET = "s"  # the shim's, in the container's socket directory

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that keep message borders."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send `message` and duplicates of `descriptors`; the caller keeps its own."""
    data = json.dumps(message).encode()
    if descriptors:
        socket.send_fds(channel, [data], list(descriptors))
    else:
        channel.send(data)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for one message; None at the end. The caller owns the descriptors (close-on-exec)."""
    try:
        data, descriptors, flags, _ = socket.recv_fds(
            channel, MAXIMUM_MESSAGE, MAXIMUM_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return None
    if not data:
        return None
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(descriptors)
        raise OSError(f"a message of more than {MAXIMUM_MESSAGE} bytes or too many descriptors was cut")
    message: Message = json.loads(data)
    return message, descriptors


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
