"""The process that forks: small, single-threaded, with everything already imported.

The daemon has threads and so must not fork. A fork of this process costs about a millisecond; a fresh
interpreter with its imports thirty. It lives as long as the daemon's end of its channel; the shims it made
live on without it. fork(2).
"""

import codecs
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
from types import ModuleType
from typing import NoReturn

from minidock.kernel import cgroups, process
from minidock.runtime import bundle, protocol, shim


def main(channel_number: str, replacements: str = "[]") -> NoReturn:
    """Serve requests from descriptor `channel_number` until its other end closes."""
    channel = socket.socket(fileno=int(channel_number))
    channel.set_inheritable(False)
    process.close_range(channel.fileno() + 1)  # whoever started the daemon waits for the end of their pipes
    os.chdir("/")
    os.umask(0o022)
    for module, function, path in json.loads(replacements):
        replace(module, function, path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c in the daemon's terminal is meant for the daemon
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the shims: nobody asks for their status
    learn()
    gc.collect()
    gc.freeze()  # the collector of a child would touch, and so copy, every page of ours
    protocol.send(channel, {"ready": os.getpid()})
    while (received := protocol.receive(channel)) is not None:
        message, descriptors = received
        try:
            pid = os.fork()
        except OSError as error:
            protocol.send(channel, {"error": f"cannot fork: {os.strerror(error.errno or 0).lower()}"})
            pid = -1
        if pid == 0:
            become_shim(channel, message, descriptors)
        protocol.close_all(descriptors)
    os._exit(0)


def learn() -> None:
    """Do once what every shim would do again on pages of its own, 0.7 MB for each container."""
    codecs.lookup("ascii")  # imports the codec
    bundle.parse(b"{}")  # msgspec looks at a type when it first meets it
    with contextlib.suppress(OSError):  # without cgroups a container says so at its start
        cgroups.known()


def become_shim(channel: socket.socket, message: protocol.Message, descriptors: list[int]) -> NoReturn:
    """Tell the daemon who we are, then be the shim.

    The child opens its own pidfd: here, it could have ended and been reaped before the spawner does.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()
    pidfd = process.pidfd_open(os.getpid())
    protocol.send(channel, {"shim": os.getpid()}, [pidfd])
    os.close(pidfd)
    channel.close()
    shim.main(message, descriptors)


def replace(module_name: str, function: str, path: str) -> None:
    """Put the function of file `path` in the place of `module_name`:`function` (a learner's piece in the real
    engine).
    """
    specification = importlib.util.spec_from_file_location(f"replacement_{function}", path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    new = getattr(loaded, function)
    original: ModuleType = importlib.import_module(module_name)
    old = getattr(original, function)
    for module in list(sys.modules.values()):
        if getattr(module, function, None) is old:
            setattr(module, function, new)
