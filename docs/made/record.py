"""Record what `minidock run --network none` executes, and which processes a running container has.

    sudo python -m docs.made.record

writes docs/recorded/core-path.json and processes.json, from which the documentation draws the reading order
and two figures. tests/docs records again and compares. The engine is up and has its image: what is recorded
is a second run, as a user has it all day.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.made import source, tracer
from setup import remains

RECORDED = source.CHECKOUT / "docs" / "recorded"
COMMAND = ("run", "--rm", "--network", "none", "hostbox", "true")
START_TIMEOUT = 30.0
TRACED = "import sys; sys.path.insert(0, {top!r}); from docs.made import tracer; tracer.{install}; {then}"
NAMESPACES = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time")


@dataclass
class TracedEngine:
    """A private engine whose every call is written down; `environment` reaches it."""

    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def trace(self) -> Path:
        return self.directory / "trace"

    def minidock(self, *words: str, traced: bool = False) -> subprocess.CompletedProcess[str]:
        """Run our command line; traced, its calls go to the same file as the engine's."""
        install = f"install({str(self.trace)!r}, 'cli')" if traced else "__name__"
        then = "from minidock.cli.main import main; sys.exit(main())"
        program = TRACED.format(top=str(source.CHECKOUT), install=install, then=then)
        host = f"unix://{self.directory}/s"
        return subprocess.run(
            [sys.executable, "-B", "-c", program, "-H", host, *words],
            capture_output=True,
            text=True,
            check=False,
        )


@contextlib.contextmanager
def traced_engine() -> Iterator[TracedEngine]:
    """Start an engine that traces itself; afterwards nothing of it is left."""
    directory = Path(tempfile.mkdtemp(prefix="minidock-docs-", dir="/var/tmp"))
    parent = f"/{directory.name}"
    roots = ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/run", "--cgroup-parent", parent]
    install = f"install_in_daemon({str(directory / 'trace')!r})"
    then = "from minidock.api.daemon import main; sys.exit(main(sys.argv[1:]))"
    program = TRACED.format(top=str(source.CHECKOUT), install=install, then=then)
    tracer.clear(f"{directory}/trace")
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", program, "-H", f"unix://{directory}/s", *roots],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not remains.answers(f"{directory}/s"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((directory / "log").read_text())
            time.sleep(0.05)
        yield TracedEngine(directory, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=START_TIMEOUT)
        remains.end_cgroup(parent)
        remains.unmount_below(str(directory))
        shutil.rmtree(directory, ignore_errors=True)


def run_traced(engine: TracedEngine) -> list[tuple[str, str, str]]:
    """Run the command to warm up and once for the record; return what was done from `main` to execve."""
    for traced in (False, False, True):
        tracer.clear(str(engine.trace))
        answer = engine.minidock(*COMMAND, traced=traced)
        if answer.returncode != 0:
            raise RuntimeError(answer.stderr + (engine.directory / "log").read_text())
    found = tracer.read(str(engine.trace))
    first = found.index(("cli", "call", "minidock.cli.main:main"))
    last = max(index for index, (role, _, _) in enumerate(found) if role == "init")
    return found[first : last + 1]


def processes(engine: TracedEngine) -> list[dict[str, Any]]:
    """Return the chain of processes from the daemon to a running program, as /proc shows it."""
    engine.minidock("run", "-d", "--name", "recorded", "--network", "none", "hostbox", "sleep", "1000")
    program = int(engine.minidock("inspect", "-f", "{{.State.Pid}}", "recorded").stdout)
    try:
        shim = _parent(program)
        (spawner,) = [pid for pid in _children(engine.process.pid) if _is_sealed(pid)]
        return [
            _described("daemon", engine.process.pid, "", "the Engine and its API"),
            _described("spawner", spawner, "starts once, with its imports done", "fork, and nothing else"),
            _described("shim", shim, "fork(2) for each run", "streams, log, exit code"),
            _described("program", program, "clone(2), then execve(2) of the image's program", "as pid 1"),
        ]
    finally:
        engine.minidock("rm", "-f", "recorded")


def _described(role: str, pid: int, begins: str, does: str) -> dict[str, Any]:
    """Say what /proc tells of a process; `begins` and `does` are the figure's words."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    executable = os.readlink(f"/proc/{pid}/exe")
    sealed = _is_sealed(pid)
    runs = "a sealed copy of Python" if sealed else "Python" if "python" in executable else "sleep"
    own = [name for name in NAMESPACES if _inode(pid, name) != _inode(os.getpid(), name)]
    threads = "threads" if int(status["Threads"]) > 1 else "one thread"
    return {
        "role": role,
        "begins": begins,
        "runs": f"{runs}: {does}" if role != "program" else f"{runs} {does}",
        "threads": threads,
        "own_namespaces": own,
    }


def _inode(pid: int, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def _is_sealed(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if _parent(int(entry.name)) == pid:
                    found.append(int(entry.name))
    return found


def record() -> dict[str, Any]:
    """Return both recordings, by file name."""
    with traced_engine() as engine:
        found = processes(engine)
        done = run_traced(engine)
    calls = [(role, place) for role, kind, place in done if kind == "call"]
    functions: dict[str, str] = {}
    for role, function in calls:
        if source.resolve(function).kind == "function":
            functions.setdefault(function, role)
    return {
        "core-path.json": {
            "command": " ".join(("minidock", *COMMAND)),
            "executed_lines": len({place for _, kind, place in done if kind == "line"}),
            "functions": [[role, function] for function, role in functions.items()],
        },
        "processes.json": found,
    }


def main() -> None:
    """Write both recordings."""
    RECORDED.mkdir(exist_ok=True)
    for name, content in record().items():
        (RECORDED / name).write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote docs/recorded/{name}")


if __name__ == "__main__":
    main()
