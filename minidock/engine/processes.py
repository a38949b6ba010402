"""top: the processes of a container, as the host's ps tells of them.

Their pids come from the cgroup, which no process can leave; ps then only describes. The image's own ps would
be the image's word. ps(1); Docker Engine API, GET /containers/{id}/top.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from minidock.engine.containers import find
from minidock.engine.views import ProcessTable
from minidock.errors import Conflict, InvalidParameter, MinidockError

if TYPE_CHECKING:
    from minidock.engine.engine import Engine

DEFAULT = "-ef"
SAFE_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 10.0


def top(engine: Engine, reference: str, arguments: str = "") -> ProcessTable:
    """Return ps's table of the container's processes, each row cut into as many cells as there are titles.

    Conflict when the container does not run; InvalidParameter when ps does not understand the arguments.
    """
    container = find(engine, reference)
    if container.status == "restarting":
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.is_running:
        raise Conflict(f"container {container.id} is not running")
    pids = engine.cgroup(container).processes()
    words = arguments.split() or [DEFAULT]
    table = parse(_ps(words, pids), {str(pid) for pid in pids})
    engine.events.publish("container", "top", container.id, container.attributes())
    return table


def parse(output: str, pids: set[str]) -> ProcessTable:
    """Cut ps's output into cells and keep the rows of `pids`; InvalidParameter without a PID column."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidParameter("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        cells = line.split(None, len(titles) - 1)
        if len(cells) > column and cells[column] in pids:
            rows.append([cell.rstrip() for cell in cells])
    return ProcessTable(titles=titles, processes=rows)


def _ps(words: list[str], pids: list[int]) -> str:
    """Run ps for these processes only; a ps that does not know -q describes all of the host's."""
    program = shutil.which("ps", path=SAFE_PATH)
    if program is None:
        raise MinidockError('error running ps: exec: "ps": executable file not found in $PATH')
    chosen = ["-q", ",".join(map(str, pids)) or "0"]
    for arguments in ([*words, *chosen], words):
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            env={"PATH": SAFE_PATH},
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
    problem = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    raise InvalidParameter(f"error running ps: {problem or f'exit status {done.returncode}'}")
