"""`minidock version`: what the client is, and what the engine says it is."""

from __future__ import annotations

import os
import sys
import time

from minidock import __version__
from minidock.cli.client import API_VERSION, Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LABELS = {
    "Version": "Version",
    "ApiVersion": "API version",
    "GoVersion": "Go version",
    "PythonVersion": "Python version",
    "GitCommit": "Git commit",
    "BuildTime": "Built",
    "OsArch": "OS/Arch",
    "Experimental": "Experimental",
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def run(options: Options) -> int:
    """Print both versions; without an engine, the client's and then the error."""
    client = Client(options.host)
    problem: Failure | None = None
    server: dict[str, Any] | None = None
    agreed = API_VERSION
    try:
        agreed = client.version()
        server = client.call("GET", "/version")
    except Failure as error:
        problem = error
    mine = _client(agreed)
    if options["format"]:
        from minidock.cli.listing import write_template

        text = "{{json .}}" if options["format"] == "json" else options["format"]
        data = {"Client": mine, "Server": server}
        inner = {id(mine): "system.clientVersion", id(server): "*types.Version"}
        write_template(text, data, "system.versionInfo", "version", inner)
    else:
        sys.stdout.write(_text(mine, server, agreed))
    if problem:
        raise problem
    return 0


def _client(agreed: tuple[int, int]) -> dict[str, Any]:
    system = os.uname()
    return {
        "Version": __version__,
        "ApiVersion": "{}.{}".format(*agreed),
        "DefaultAPIVersion": "{}.{}".format(*API_VERSION),
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": "linux",
        "Arch": ARCHITECTURES.get(system.machine, system.machine),
    }


def _text(mine: dict[str, Any], server: dict[str, Any] | None, agreed: tuple[int, int]) -> str:
    downgraded = f" (downgraded from {mine['DefaultAPIVersion']})" if agreed < API_VERSION else ""
    lines = [
        "Client:",
        f" {'Version:':<18} {mine['Version']}",
        f" {'API version:':<18} {mine['ApiVersion']}{downgraded}",
        f" {'Python version:':<18} {mine['PythonVersion']}",
        f" {'OS/Arch:':<18} {mine['Os']}/{mine['Arch']}",
    ]
    if server:
        platform = (server.get("Platform") or {}).get("Name", "")
        lines += ["", f"Server: {platform}".rstrip()]
        for component in server.get("Components") or ():
            lines += _component(component)
    return "\n".join(lines) + "\n"


def _component(component: dict[str, Any]) -> list[str]:
    details: dict[str, str] = dict(component.get("Details") or {})
    details["Version"] = component["Version"]
    if component["Name"] != "Engine":
        order = sorted(details, key=lambda name: (name != "Version", name))
        return [f" {component['Name']}:", *(f"  {name + ':':<17} {details[name]}" for name in order)]
    if details.get("GoVersion", "").startswith("python"):
        details["PythonVersion"] = details.pop("GoVersion").removeprefix("python")
    if "BuildTime" in details:
        details["BuildTime"] = _readable(details["BuildTime"])
    if "Os" in details:
        details["OsArch"] = f"{details.pop('Os')}/{details.pop('Arch', '')}"
    if "MinAPIVersion" in details and "ApiVersion" in details:
        details["ApiVersion"] += f" (minimum version {details['MinAPIVersion']})"
    lines = [f" {component['Name']}:"]
    lines += [f"  {label + ':':<17} {details[key]}" for key, label in LABELS.items() if key in details]
    return lines


def _readable(text: str) -> str:
    """Return a date of RFC 3339 as people write it; anything else stays."""
    try:
        return time.asctime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return text


COMMANDS = {
    "version": Command(
        "version",
        "[OPTIONS]",
        "Show the Minidock version information",
        run,
        (Flag("format", "f", "string", "INSPECT_FORMAT"),),
    )
}
