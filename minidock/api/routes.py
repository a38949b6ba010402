"""Every route of the Docker Engine API in one table: method, pattern, function.

The order matters where two patterns match one path: the first row wins. A `{name}` stands for one or more
characters including `/` and `:`, since image names have them (`localhost:5000/a:3`); what follows it in the
pattern ends it. Source: Docker Engine API v1.50.
"""

import re
from collections.abc import Callable, Sequence

from minidock.api import containers, execs, files, images, networks, statistics, streams, system, volumes
from minidock.api.exchange import Reply
from minidock.api.unserved import absent, buildkit, checkpoint, later, plugin_system, swarm, swarm_mode
from minidock.errors import NotFound

Function = Callable[..., Reply | None]
Route = tuple[str, str, Function]

ROUTES: tuple[Route, ...] = (
    ("HEAD", "/_ping", system.ping),
    ("GET", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("GET", "/events", system.events),
    ("POST", "/auth", later("logging in to a registry")),
    ("GET", "/system/df", system.disk_usage),
    ("POST", "/containers/create", containers.create),
    ("GET", "/containers/json", containers.list_all),
    ("POST", "/containers/prune", containers.prune_stopped),
    ("GET", "/containers/{name}/json", containers.inspect),
    ("POST", "/containers/{name}/start", containers.start),
    ("POST", "/containers/{name}/wait", containers.wait),
    ("POST", "/containers/{name}/attach", streams.attach),
    ("GET", "/containers/{name}/attach/ws", streams.attach_by_websocket),
    ("GET", "/containers/{name}/logs", streams.logs),
    ("POST", "/containers/{name}/stop", containers.stop),
    ("POST", "/containers/{name}/restart", containers.restart),
    ("POST", "/containers/{name}/kill", containers.kill),
    ("POST", "/containers/{name}/pause", containers.pause),
    ("POST", "/containers/{name}/unpause", containers.unpause),
    ("POST", "/containers/{name}/rename", containers.rename),
    ("POST", "/containers/{name}/resize", containers.resize),
    ("POST", "/containers/{name}/exec", execs.create),
    ("POST", "/containers/{name}/update", containers.update),
    ("GET", "/containers/{name}/stats", statistics.stats),
    ("GET", "/containers/{name}/top", containers.top),
    ("GET", "/containers/{name}/changes", files.changes),
    ("GET", "/containers/{name}/export", files.export),
    ("HEAD", "/containers/{name}/archive", files.stat),
    ("GET", "/containers/{name}/archive", files.read),
    ("PUT", "/containers/{name}/archive", files.write),
    ("POST", "/containers/{name}/copy", later("docker cp")),
    ("GET", "/containers/{name}/checkpoints", checkpoint),
    ("POST", "/containers/{name}/checkpoints", checkpoint),
    ("DELETE", "/containers/{name}/checkpoints/{checkpoint}", checkpoint),
    ("DELETE", "/containers/{name}", containers.remove),
    ("POST", "/exec/{id}/start", execs.start),
    ("POST", "/exec/{id}/resize", execs.resize),
    ("GET", "/exec/{id}/json", execs.inspect),
    ("POST", "/commit", files.commit),
    ("GET", "/images/json", images.list_all),
    ("GET", "/images/search", later("docker search")),
    ("GET", "/images/get", images.save),
    ("POST", "/images/create", images.create),
    ("POST", "/images/load", images.load),
    ("POST", "/images/prune", images.prune_unused),
    ("GET", "/images/{name}/json", images.inspect),
    ("GET", "/images/{name}/history", images.history),
    ("GET", "/images/{name}/changes", images.changes),
    ("GET", "/images/{name}/get", images.save),
    ("POST", "/images/{name}/tag", images.tag),
    ("POST", "/images/{name}/push", later("docker push")),
    ("DELETE", "/images/{name}", images.remove),
    ("POST", "/build", later("docker build")),
    ("POST", "/build/prune", images.prune_builds),
    ("POST", "/build/cancel", later("docker build")),
    ("GET", "/distribution/{name}/json", later("asking a registry about an image")),
    ("GET", "/volumes", volumes.list_all),
    ("POST", "/volumes/create", volumes.create),
    ("POST", "/volumes/prune", volumes.prune),
    ("GET", "/volumes/{name}", volumes.inspect),
    ("PUT", "/volumes/{name}", swarm),
    ("DELETE", "/volumes/{name}", volumes.remove),
    ("GET", "/networks", networks.list_all),
    ("POST", "/networks/create", networks.create),
    ("POST", "/networks/prune", networks.prune),
    ("GET", "/networks/{name}", networks.inspect),
    ("DELETE", "/networks/{name}", networks.remove),
    ("POST", "/networks/{name}/connect", networks.connect),
    ("POST", "/networks/{name}/disconnect", networks.disconnect),
    ("GET", "/plugins", system.plugins),
    ("GET", "/plugins/privileges", plugin_system),
    ("POST", "/plugins/pull", plugin_system),
    ("POST", "/plugins/create", plugin_system),
    ("GET", "/plugins/{name}/json", absent('plugin "{}" not found')),
    ("DELETE", "/plugins/{name}", absent('plugin "{}" not found')),
    ("POST", "/plugins/{name}/{verb}", plugin_system),
    ("GET", "/swarm", swarm),
    ("POST", "/swarm/init", swarm_mode),
    ("POST", "/swarm/join", swarm_mode),
    ("POST", "/swarm/{verb}", swarm),
    ("GET", "/swarm/unlockkey", swarm),
    *(
        (method, f"/{kind}", swarm)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
        for method in ("GET",)
    ),
    *(
        (method, f"/{kind}/{{rest}}", swarm)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
        for method in ("GET", "POST", "DELETE")
    ),
    ("POST", "/session", buildkit),
    ("POST", "/grpc", buildkit),
)


class Router:
    """Finds the function for a request among `routes`."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._fixed: dict[tuple[str, str], Function] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Function]]] = {}
        for method, pattern, function in routes:
            if "{" in pattern:
                self._patterns.setdefault(method, []).append((_compile(pattern), function))
            else:
                self._fixed[method, pattern] = function

    def find(self, method: str, path: str) -> tuple[Function, tuple[str, ...]]:
        """Return the function and what its pattern names in the path; NotFound("page not found")."""
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, ()
        for pattern, function in self._patterns.get(method, ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return function, match.groups()
        raise NotFound("page not found")


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(pattern)), re.DOTALL)
