"""A few requests of the Engine API on one open connection: an engine's own time, no client start-up."""

import http.client
import json
import socket
from typing import Any

from bench.engines import IMAGE, Engine, Failed


class Connection(http.client.HTTPConnection):
    """HTTP over the unix socket of an engine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("localhost")
        self._path = engine.host.removeprefix("unix://")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON, or None without any. Raises Failed for an error answer."""
        data = None if body is None else json.dumps(body)
        self.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = self.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise Failed(f"{method} {path}: {answer.status} {content.decode(errors='replace').strip()}")
        return json.loads(content) if content else None

    def create(self) -> str:
        """Create a container that runs `true` without a network, and return its id."""
        wanted = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
        identifier: str = self.ask("POST", "/v1.41/containers/create", wanted)["Id"]
        return identifier

    def live(self, identifier: str) -> None:
        """Start a created container, wait for its end, remove it."""
        self.ask("POST", f"/v1.41/containers/{identifier}/start")
        self.ask("POST", f"/v1.41/containers/{identifier}/wait")
        self.ask("DELETE", f"/v1.41/containers/{identifier}")
