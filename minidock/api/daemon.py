"""The daemon's life: lock, listen, open the engine, serve, and stop without stopping a container.

The socket is made before the engine is opened: a wrong host fails at once, and clients that come early wait
in the backlog instead of failing. The locks are flock(2): they go with the process, however it dies.
"""

import contextlib
import fcntl
import grp
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from minidock import __version__
from minidock.api.daemon_options import DEFAULT_GROUP, DaemonOptions, parse_options
from minidock.api.dispatch import Dispatcher
from minidock.api.routes import Router
from minidock.api.server import Server
from minidock.api.ways_in import open_listeners
from minidock.engine.engine import Engine
from minidock.errors import Conflict, Forbidden, MinidockError
from minidock.paths import Paths

log = logging.getLogger(__name__)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Run `minidock daemon` with these arguments; return its exit status."""
    try:
        options = parse_options(arguments)
        _start_logging(options.engine.debug)
        serve(options)
    except (MinidockError, OSError) as error:
        print(f"minidock daemon: {error}", file=sys.stderr)
        return 1
    return 0


def serve(options: DaemonOptions) -> None:
    """Serve until SIGTERM or SIGINT; containers keep running afterwards.

    Conflict when another daemon uses one of the roots or sockets, Forbidden when not root. Call in the main
    thread.
    """
    if os.geteuid() != 0:
        raise Forbidden("the engine needs root: namespaces, mounts and cgroups are its work (try sudo)")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a client that leaves is an error code, not a death
    # Before any thread is there, so that all inherit it: whoever asks to stop waits until the engine is open.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    paths = options.engine.paths
    with contextlib.ExitStack() as stack:
        stack.enter_context(_exec_root_locked(paths))
        listeners = []
        for host in options.listen_on:
            for listener in open_listeners(host, _group(options.group), options.security):
                listeners.append(listener)
                stack.callback(listener.close)
        stack.enter_context(_pid_file(options.pid_file))
        for warning in options.warnings:
            log.warning("%s", warning)
        engine = Engine.open(options.engine)
        stack.callback(engine.close)
        _allow_many_clients()
        os.environ["TMPDIR"] = paths.temporary  # what outgrows memory belongs on our disk; /tmp may be memory
        server = Server(listeners, Dispatcher(engine, Router()).serve)
        threading.Thread(target=_stop_when_asked, args=(server,), name="signals", daemon=True).start()
        _notify_systemd("READY=1")
        log.info("minidock %s (pid %d) listens on %s", __version__, os.getpid(), ", ".join(options.listen_on))
        server.run()
        _notify_systemd("STOPPING=1")
        log.info("stopping; containers keep running")


def _stop_when_asked(server: Server) -> None:
    """Stop the server at SIGTERM or SIGINT.

    A handler would run in the main thread wherever it is: an interrupt while the engine finds its containers
    again was taken for a damaged record, and one just before poll(2) was not noticed at all. sigwait(3).
    """
    signal.sigwait(STOP_SIGNALS)
    server.stop()


@contextlib.contextmanager
def _exec_root_locked(paths: Paths) -> Iterator[None]:
    """Hold the exec root for this daemon alone; the data root is locked by the engine."""
    os.makedirs(paths.exec_root, mode=0o711, exist_ok=True)
    descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise Conflict(f"another minidock daemon (pid {holder}) is using {paths.exec_root}") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _pid_file(path: str) -> Iterator[None]:
    """Keep this process's id in `path`. It informs people and scripts only: the lock is what decides."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _group(group: str | None) -> str | None:
    if group is not None:
        return group
    with contextlib.suppress(KeyError):
        return grp.getgrnam(DEFAULT_GROUP).gr_name
    return None


def _allow_many_clients() -> None:
    """Allow as many descriptors as the hard limit; after the spawner's start, so no container gets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _notify_systemd(message: str) -> None:
    """Tell a supervising systemd about our state, as sd_notify(3) does."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)


def _start_logging(debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
