"""What the daemon asks of the spawner and a shim, as values, and how these travel.

A request is JSON members plus named descriptors: `descriptors` lists the names in the order in which
SCM_RIGHTS carries them. The spec and the seccomp filter go as sealed memfds, since they outgrow a datagram.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minidock.runtime.protocol import Message, close_all

STDIN_NONE, STDIN_ONCE, STDIN_KEEP = "none", "once", "keep"


@dataclass(frozen=True)
class LogOptions:
    """Where and how the container's output is kept. `max_size` is bytes (0: no limit); `driver` json-file or
    none.
    """

    driver: str = "none"
    path: str = ""
    max_size: int = 10_000_000
    max_file: int = 3


@dataclass(frozen=True)
class AttachClient:
    """A client's socket and what it wants; `leftover` is what it sent after its request, `framed` the 8-byte
    headers.
    """

    descriptor: int
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    framed: bool = False
    leftover: bytes = b""
    detach_keys: bytes = b""

    def to_message(self) -> Message:
        """Return the JSON members; the descriptor travels beside them."""
        return {
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "framed": self.framed,
            "leftover": self.leftover.decode("latin-1"),
            "detach_keys": self.detach_keys.decode("latin-1"),
        }

    @classmethod
    def from_message(cls, message: Message, descriptor: int) -> "AttachClient":
        """Rebuild the client at the receiving end."""
        texts = {name: message[name].encode("latin-1") for name in ("leftover", "detach_keys")}
        return cls(descriptor=descriptor, **{**message, **texts})


@dataclass(frozen=True)
class LaunchRequest:
    """One run of a container.

    `directory` receives exit.json; the control socket `s` is made in `socket_directory`. `rootfs` is a
    detached mount, attached at the spec's root.path inside the container's own mount namespace (-1: root.path
    is bound). `namespaces` maps an OCI namespace type to an open descriptor to join instead of the spec's
    entry, `mounts` the destination of a bind to the detached mount to put there instead of its source. All
    descriptors stay the caller's.
    """

    identifier: str
    directory: str
    socket_directory: str
    spec: Mapping[str, Any]
    rootfs: int = -1
    seccomp: bytes = b""
    stdin: str = STDIN_NONE
    init: bool = False
    log: LogOptions = LogOptions()
    clients: Sequence[AttachClient] = ()
    namespaces: Mapping[str, int] = field(default_factory=dict)
    mounts: Mapping[str, int] = field(default_factory=dict)
    trace: int = -1


@dataclass(frozen=True)
class ExecRequest:
    """One more program in a running container: `process` is the spec's process object."""

    identifier: str
    process: Mapping[str, Any]
    seccomp: bytes = b""
    stdin: bool = False
    clients: Sequence[AttachClient] = ()


def pack(named: Mapping[str, int]) -> tuple[list[str], list[int]]:
    """Split named descriptors into the list for the message and the list for SCM_RIGHTS; -1 means absent."""
    present = {name: descriptor for name, descriptor in named.items() if descriptor >= 0}
    return list(present), list(present.values())


def unpack(message: Message, descriptors: Sequence[int]) -> dict[str, int]:
    """Return the received descriptors by name; ValueError, with all of them closed, when names do not fit."""
    names = message.get("descriptors", [])
    if len(set(map(str, names))) != len(descriptors) or len(names) != len(descriptors):
        close_all(descriptors)
        raise ValueError(f"{len(descriptors)} descriptors came with the names {names}")
    return dict(zip(map(str, names), descriptors, strict=True))
