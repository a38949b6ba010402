"""The unix socket on which clients reach the daemon, made so that nobody else can connect even for a moment.

bind(2) creates the socket with the process's umask, and an umask is process-wide: so the socket is bound in
a directory of mode 0700, given its owner and mode there, and renamed to its place. unix(7): a path is at
most 107 bytes, hence the way through /proc/self/fd.
"""

import contextlib
import grp
import os
import secrets
import socket
import ssl
import stat
from dataclasses import dataclass

from minidock.errors import Conflict, InvalidParameter, Unsupported

SOCKET_MODE = 0o660
BACKLOG = 512


@dataclass(frozen=True)
class Listener:
    """A listening socket and the name it is to take with it when it closes."""

    socket: socket.socket
    path: str
    inode: tuple[int, int]
    tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Stop listening and remove the name, if it has one that no other socket has taken meanwhile."""
        self.socket.close()
        if not self.path:
            return
        with contextlib.suppress(OSError):
            if _inode(self.path) == self.inode:
                os.unlink(self.path)


def listen(host: str, group: str | None) -> Listener:
    """Listen on a `unix://` host; `group` may connect too (None: only root).

    Unsupported for the schemes that come later, Conflict when somebody listens there already.
    """
    scheme, separator, address = host.partition("://")
    if not separator:
        raise InvalidParameter(f"invalid host {host!r}: expected unix:///path/to/socket")
    if scheme in ("npipe", "ssh"):
        raise Unsupported(f"listening on {scheme}:// is not served: use unix://, tcp:// or fd://")
    if scheme != "unix" or not address.startswith("/"):
        raise InvalidParameter(f"invalid host {host!r}: expected unix:///path/to/socket")
    return _listen_unix(address, _group_id(group))


def _listen_unix(path: str, group_id: int) -> Listener:
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    _refuse_live(path)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    private = f".{name}.{secrets.token_hex(4)}"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.mkdir(private, 0o700, dir_fd=parent)
        try:
            server.bind(f"/proc/self/fd/{parent}/{private}/s")
            os.chown(f"{private}/s", 0, group_id, dir_fd=parent)
            os.chmod(f"{private}/s", SOCKET_MODE, dir_fd=parent)
            server.listen(BACKLOG)
            os.rename(f"{private}/s", name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            with contextlib.suppress(FileNotFoundError):  # renamed away, if all went well
                os.unlink(f"{private}/s", dir_fd=parent)
            os.rmdir(private, dir_fd=parent)
    except BaseException:
        server.close()
        raise
    finally:
        os.close(parent)
    return Listener(server, path, _inode(path))


def _refuse_live(path: str) -> None:
    """Raise unless `path` is free or a socket that nobody listens on any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on {path}: the file exists and is not a socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        probe.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except ConnectionRefusedError:
        return
    except BlockingIOError:
        pass
    finally:
        probe.close()
        os.close(directory)
    raise Conflict(f"cannot listen on {path}: another daemon is listening there")


def _group_id(group: str | None) -> int:
    if not group:
        return 0
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise InvalidParameter(f"group {group!r} does not exist: give --group an existing one") from None


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
