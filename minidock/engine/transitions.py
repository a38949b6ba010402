"""The life of a container as a table: which verb is allowed in which status, and where it leads.

Rules stated once, as data: the figure in the documentation is drawn from this table, and no other module
decides what follows from what. Events that nobody asked for (the program ended) are in the table too, as
verbs of the kernel.

    created --start--> running --exit--> exited --start--> running
    running --pause--> paused --unpause--> running
    running --retry--> restarting --again--> running
    anything that does not run --remove--> removing --> gone
"""

from minidock.errors import Conflict, NotModified, NotStopped

TABLE: dict[tuple[str, str], str] = {
    ("created", "start"): "running",
    ("exited", "start"): "running",
    ("running", "pause"): "paused",
    ("paused", "unpause"): "running",
    ("running", "exit"): "exited",
    ("paused", "exit"): "exited",
    # A restart policy: the end of a run is not the end of the container.
    ("running", "retry"): "restarting",
    ("paused", "retry"): "restarting",
    ("restarting", "again"): "running",
    ("restarting", "stop"): "exited",
    ("restarting", "kill"): "exited",
    ("created", "remove"): "removing",
    ("exited", "remove"): "removing",
    ("dead", "remove"): "removing",
    ("removing", "fail"): "dead",
    # Verbs that leave the status as it is: the program's end, when it comes, is an "exit".
    ("running", "stop"): "running",
    ("running", "kill"): "running",
    ("paused", "stop"): "paused",
    ("paused", "kill"): "paused",
    ("running", "resize"): "running",
    ("paused", "resize"): "paused",
}

RUNNING = frozenset({"running", "paused"})
"""The statuses in which processes of the container exist."""

UP = RUNNING | {"restarting"}
"""The statuses that Docker calls running."""


def following(status: str, verb: str) -> str | None:
    """Return the status after `verb`, None when it is not allowed."""
    return TABLE.get((status, verb))


def require(status: str, verb: str, identifier: str, name: str) -> str:
    """Return the status after `verb`; else raise NotModified or Conflict in Docker's words about this
    container.
    """
    following_status = following(status, verb)
    if following_status is not None:
        return following_status
    raise _refusal(status, verb, identifier, name)


def _refusal(status: str, verb: str, identifier: str, name: str) -> Conflict | NotModified:
    if verb == "start":
        if status in ("running", "restarting"):
            return NotModified(f"container {name} is already running")
        if status == "paused":
            return Conflict("cannot start a paused container, try unpause instead")
        return Conflict("container is marked for removal and cannot be started")
    if verb == "stop":
        return NotModified(f"container {name} is not running")
    if verb == "kill":
        return Conflict(f"cannot kill container: {name}: container {identifier} is not running")
    if verb == "pause" and status == "restarting":
        return Conflict(f"container {identifier} is restarting, wait until the container is running")
    if verb == "pause" and status == "paused":
        return Conflict(f"container {identifier} is already paused")
    if verb == "unpause":
        return Conflict(f"container {identifier} is not paused")
    if verb == "remove":
        return _remove_refusal(status, identifier, name)
    return Conflict(f"container {identifier} is not running")


def _remove_refusal(status: str, identifier: str, name: str) -> Conflict:
    if status in ("removing", "gone"):
        return Conflict(f"removal of container {name} is already in progress")
    procedure = {
        "paused": "container is paused and must be unpaused first",
        "restarting": "container is restarting: stop the container before removing or force remove",
        "running": "container is running: stop the container before removing or force remove",
    }[status]
    return NotStopped(f'cannot remove container "/{name}": {procedure}', identifier, status)
