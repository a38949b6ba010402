"""Who still runs out of a directory that is to be removed: found in /proc, and never ended from here.

An interpreter of a virtual environment is a link, so its process's `exe` lies elsewhere: its first word and
the files that it has open or mapped tell. proc(5).
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SHOWN = 80  # characters of a command line


def processes(directories: Sequence[Path], but: set[int]) -> dict[int, Path]:
    """Return the processes that use files of `directories`, each with the directory.

    Those in `but`, this process and those above it do not count. Without root, of other accounts' processes
    the first word is all there is.
    """
    found, spared = {}, {*but, *_line_of_descent()}
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir("/proc")))):
        if pid in spared:
            continue
        files = set(_files(f"/proc/{pid}"))
        for directory in directories:
            if any(file.startswith(f"{directory}/") for file in files):
                found[pid] = directory
    return found


def command(pid: int) -> str:
    """Return a process's command line, shortened; "" when it is gone."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return " ".join(word.decode(errors="replace") for word in words)[:SHOWN]
    return ""


def _files(process: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield Path(f"{process}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="surrogateescape")
    with contextlib.suppress(OSError):
        yield os.readlink(f"{process}/exe")
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{process}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                yield os.readlink(f"{process}/fd/{name}")
    with contextlib.suppress(OSError), open(f"{process}/maps", errors="surrogateescape") as file:
        yield from {row[5].rstrip("\n") for line in file if len(row := line.split(maxsplit=5)) == 6}


def _line_of_descent() -> Iterator[int]:
    """Yield this process's pid, its parent's, and so on: sudo and the shell that started it."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])
