"""The Engine API as the verbs see it: method, path and query in, JSON back, at a version both sides know.

A stream (attach, wait, logs) needs its connection for itself, so `open` gives a fresh one; everything else
shares the first. The version is agreed once, from the header that every engine sends with `/_ping`.
"""

from __future__ import annotations

import os

from minidock.cli import quickjson
from minidock.cli.connection import Connection, Response, quote
from minidock.cli.failure import CannotConnect, EngineError, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    from minidock.cli.endpoint import Endpoint

API_VERSION = (1, 50)
DEFAULT_HOST = "unix:///run/minidock/minidock.sock"  # = minidock.paths.DEFAULT_HOST, whose import costs 5 ms
Query = dict[str, "str | int | bool | list[str] | None"]


class Client:
    """One engine, found at `host`; connections are made when first needed."""

    def __init__(self, engine: Endpoint | str | None = None) -> None:
        """Use `engine`, MINIDOCK_HOST, DOCKER_HOST or the default engine, which is started if need be."""
        host = engine if engine is None or isinstance(engine, str) else engine.host
        self._files = None if engine is None or isinstance(engine, str) else engine.files
        chosen = host or os.environ.get("MINIDOCK_HOST") or os.environ.get("DOCKER_HOST")
        self.host = chosen or DEFAULT_HOST
        self._may_start = self.host == DEFAULT_HOST  # also if it was named
        self._idle: Connection | None = None
        self._version: tuple[int, int] | None = None

    def version(self) -> tuple[int, int]:
        """Return the API version in use: the older of ours and the engine's."""
        if self._version is None:
            connection = self._connect()
            try:
                response = connection.request("HEAD", "/_ping", {})
            except OSError as error:
                raise connection.failure(error) from None
            major, _, minor = response.headers.get("api-version", "1.24").partition(".")
            if not (major.isdecimal() and minor.isdecimal()):
                raise Failure(f"the engine at {self.host} does not tell its API version")
            self._version = min(API_VERSION, (int(major), int(minor)))
            self._idle = connection
        return self._version

    def open(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request, return the answer, whose body may be endless; raise EngineError from 400 on."""
        major, minor = self.version()
        connection, self._idle = self._idle or self._connect(), None
        target = f"/v{major}.{minor}{quote(path, safe=b'/:@')}{encode(query or {})}"
        response = connection.request(method, target, {"User-Agent": "minidock", **(headers or {})}, body)
        if response.status >= 400:
            text = _error_text(response.read()) or f"{response.status} {response.reason} for {method} {path}"
            connection.close()
            raise EngineError(response.status, text)
        return response

    def call(self, method: str, path: str, query: Query | None = None, json_body: Any = None) -> Any:
        """Send a request, return its JSON answer or None; the connection is used again."""
        body = None if json_body is None else quickjson.encode(json_body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = self.raw(method, path, query, body, headers)
        return quickjson.decode(data) if data.strip() else None

    def raw(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Like `call`, but return the answer's own bytes."""
        response = self.open(method, path, query, body, headers)
        data = response.read()
        if response.headers.get("connection", "").lower() != "close" and self._idle is None:
            self._idle = response.connection
        else:
            response.connection.close()
        return data

    def hijack(self, path: str, query: Query, body: bytes | None = None) -> Connection:
        """Attach: return the connection after the upgrade, when it carries the container's streams."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = self.open("POST", path, query, body, headers)
        if response.status != 101:
            raise Failure(f"unable to upgrade to tcp, received {response.status}")
        return response.connection

    def _connect(self) -> Connection:
        try:
            return Connection(self.host, self._files)
        except CannotConnect:
            if not self._may_start:
                raise
        from minidock.cli.autostart import start_daemon

        self._may_start = False
        start_daemon()
        return Connection(self.host, self._files)


def encode(query: Query) -> str:
    """Return `?a=b&…` with the names sorted, as Go's clients send it; None and "" are left out, True is 1."""
    pairs: list[str] = []
    for name in sorted(query):
        value = query[name]
        if value is None or value is False or value == "":
            continue
        values = value if isinstance(value, list) else [value]
        pairs += [f"{quote(name)}={quote('1' if item is True else str(item))}" for item in values]
    return "?" + "&".join(pairs) if pairs else ""


def filters(values: list[tuple[str, str]]) -> str:
    """Return the JSON of the `filters` parameter: {"name": {"value": true}}; "" when there are none."""
    chosen: dict[str, dict[str, bool]] = {}
    for name, value in sorted(values):
        chosen.setdefault(name, {})[value] = True
    return quickjson.encode(chosen) if chosen else ""


def _error_text(body: bytes) -> str:
    try:
        answer = quickjson.decode(body)
    except ValueError:
        return body.decode(errors="replace").strip()
    return str(answer.get("message", "")) if isinstance(answer, dict) else str(answer)
