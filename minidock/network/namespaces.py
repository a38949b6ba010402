"""Network namespaces held by descriptors alone: made and entered by threads that end at once.

A thread can leave the process's network namespace for itself; the descriptor of the new one outlives it, and
when the last descriptor and the last process are gone the kernel frees the namespace with all its links.
**Netlink sockets belong to the namespace of the thread that opened them**, so whoever works inside opens,
uses and closes them inside the one function given to `inside`. network_namespaces(7), setns(2), netdevice(7).
"""

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from minidock.kernel import namespaces

IFF_UP = 0x1
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
Result = TypeVar("Result")


def create() -> int:
    """Return the descriptor of a new network namespace whose loopback is up; the caller closes it."""

    def make() -> int:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        bring_loopback_up()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_a_thread(make)


def inside(namespace: int, function: Callable[[], Result]) -> Result:
    """Call `function` in a thread of its own in the namespace behind `namespace`; return what it returns."""

    def enter() -> Result:
        namespaces.setns(namespace, namespaces.CLONE_NEWNET)
        return function()

    return _in_a_thread(enter)


def bring_loopback_up() -> None:
    """Set `lo` of the calling thread's namespace up; it gets 127.0.0.1 and ::1 by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = bytearray(struct.pack("16sh14x", b"lo", 0))
        fcntl.ioctl(probe, SIOCGIFFLAGS, request)
        name, flags = struct.unpack("16sh14x", request)
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def _in_a_thread(function: Callable[[], Result]) -> Result:
    with ThreadPoolExecutor(1, "network namespace") as one:  # the thread ends here, and was never used before
        return one.submit(function).result()
