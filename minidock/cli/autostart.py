"""Start the engine when nobody has: the first command on a fresh machine should simply work.

The daemon must outlive us and owe us nothing: a session of its own, `/` as directory, a clean environment, a
log file for its output. A lock makes two commands that come at once start one. daemon(7), setsid(2),
flock(2).
"""

from __future__ import annotations

import os
import sys
import time

from minidock.cli.connection import Connection
from minidock.cli.failure import PROGRAM, CannotConnect, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXEC_ROOT = "/run/minidock"  # = minidock.paths.DEFAULT_EXEC_ROOT
START_TIMEOUT = 60.0
SHOWN_LINES = 12
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
BOOTSTRAP = (
    "import sys; sys.path.insert(0, {root!r}); from minidock.cli.main import run_and_exit; run_and_exit()"
)


def start_daemon(exec_root: str = EXEC_ROOT) -> None:
    """Start the engine below `exec_root`, return when it answers; raise Failure with the end of its log."""
    host = f"unix://{exec_root}/minidock.sock"
    if os.geteuid() != 0:
        raise Failure(
            f"Cannot connect to the {PROGRAM} daemon at {host}: "
            f"it is not running, and starting it needs root (try: sudo {PROGRAM} ...)"
        )
    import fcntl

    os.makedirs(exec_root, mode=0o711, exist_ok=True)
    log_path = f"{exec_root}/daemon.log"
    lock = os.open(f"{exec_root}/autostart.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _answers(host):
            return  # another command was faster
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        beginning = os.fstat(log).st_size
        process = _spawn(log)
        os.close(log)
        _wait(process, host, log_path, beginning)
        sys.stderr.write(
            f"{PROGRAM}: the engine was not running: started it (pid {process}, log {log_path})\n"
        )
    finally:
        os.close(lock)


def _spawn(log: int) -> int:
    """Fork twice, so that the daemon is nobody's child but init's; return its process id."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            grandchild = os.fork()
            if grandchild == 0:
                _become_daemon(log)
            os.write(writer, str(grandchild).encode())
        finally:
            os._exit(1)
    os.close(writer)
    try:
        answer = os.read(reader, 32)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    if not answer:
        raise Failure("the engine could not be started: fork failed")
    return int(answer)


def _become_daemon(log: int) -> NoReturn:
    os.chdir("/")
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 1024)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # argv[0] must be the interpreter: it is how Python finds its virtual environment
    command = [sys.executable, "-I", "-c", BOOTSTRAP.format(root=root), "daemon"]
    os.execve(sys.executable, command, ENVIRONMENT)


def _wait(process: int, host: str, log_path: str, beginning: int) -> None:
    pidfd = _pidfd(process)
    deadline = time.monotonic() + START_TIMEOUT
    try:
        while not _answers(host):
            if pidfd < 0 or _has_ended(pidfd, 0.02):
                raise Failure(
                    f"the engine did not start. Its log, {log_path}, ends:\n{_tail(log_path, beginning)}"
                )
            if time.monotonic() > deadline:
                raise Failure(f"the engine (pid {process}) does not answer; its log is {log_path}")
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _pidfd(process: int) -> int:
    try:
        return os.pidfd_open(process)
    except ProcessLookupError:
        return -1


def _has_ended(pidfd: int, timeout: float) -> bool:
    import select

    return bool(select.select([pidfd], [], [], timeout)[0])


def _answers(host: str) -> bool:
    try:
        connection = Connection(host)
    except CannotConnect:
        return False
    try:
        return connection.request("GET", "/_ping", {}).status == 200
    except (Failure, OSError):
        return False
    finally:
        connection.close()


def _tail(path: str, beginning: int) -> str:
    with open(path, "rb") as file:
        file.seek(beginning)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-SHOWN_LINES:]) or "  (nothing)"
