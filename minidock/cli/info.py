"""`minidock info`: the engine's own description of itself and its host."""

from __future__ import annotations

import sys

from minidock import __version__
from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PLAIN = (
    ("KernelVersion", "Kernel Version"),
    ("OperatingSystem", "Operating System"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("NCPU", "CPUs"),
)
LAST = (("Name", "Name"), ("ID", "ID"), ("DockerRootDir", "Docker Root Dir"))


def run(options: Options) -> int:
    """Print the engine's information, and its warnings on stderr."""
    client = Client(options.host)
    problem: Failure | None = None
    server: dict[str, Any] = {}
    try:
        server = client.call("GET", "/info")
    except Failure as error:
        problem = error
    mine = {"Version": __version__, "Context": "default", "Debug": False}
    if options["format"]:
        from minidock.cli.listing import write_template

        text = "{{json .}}" if options["format"] == "json" else options["format"]
        data = {**server, "ClientInfo": mine, "ServerErrors": [str(problem)] if problem else None}
        write_template(text, data, "system.dockerInfo")
    else:
        lines = [
            "Client:",
            f" Version:    {__version__}",
            " Context:    default",
            " Debug Mode: false",
            "",
            "Server:",
        ]
        sys.stdout.write("\n".join([*lines, *(_server(server) if server else ())]) + "\n")
    sys.stdout.flush()
    sys.stderr.writelines(f"{warning}\n" for warning in server.get("Warnings") or ())
    if problem:
        raise problem
    return 0


def _server(info: dict[str, Any]) -> Iterator[str]:
    yield f" Containers: {info['Containers']}"
    for word in ("Running", "Paused", "Stopped"):
        yield f"  {word}: {info['Containers' + word]}"
    yield f" Images: {info['Images']}"
    yield f" Server Version: {info['ServerVersion']}"
    yield f" Storage Driver: {info['Driver']}"
    yield from (f"  {name}: {value}" for name, value in info.get("DriverStatus") or ())
    yield f" Logging Driver: {info['LoggingDriver']}"
    yield f" Cgroup Driver: {info['CgroupDriver']}"
    yield f" Cgroup Version: {info.get('CgroupVersion', '1')}"
    yield " Plugins:"
    for kind in ("Volume", "Network", "Authorization", "Log"):
        if names := (info.get("Plugins") or {}).get(kind):
            yield f"  {kind}: {' '.join(names)}"
    yield f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState', 'inactive')}"
    if info.get("Runtimes"):
        yield f" Runtimes: {' '.join(sorted(info['Runtimes']))}"
        yield f" Default Runtime: {info['DefaultRuntime']}"
    if info.get("InitBinary"):
        yield f" Init Binary: {info['InitBinary']}"
    for key, label in (("ContainerdCommit", "containerd"), ("RuncCommit", "runc"), ("InitCommit", "init")):
        if key in info:
            yield f" {label} version: {info[key].get('ID', '')}"
    if info.get("SecurityOptions"):
        yield " Security Options:"
        for option in info["SecurityOptions"]:
            yield from _security(option)
    yield from (f" {label}: {info[key]}" for key, label in PLAIN)
    yield f" Total Memory: {binary_size(info['MemTotal'])}"
    yield from (f" {label}: {info[key]}" for key, label in LAST)
    yield f" Debug Mode: {_truth(info.get('Debug'))}"
    if info.get("Labels"):
        yield " Labels:"
        yield from (f"  {label}" for label in info["Labels"])
    yield f" Experimental: {_truth(info.get('ExperimentalBuild'))}"
    insecure = (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or ()
    if insecure:
        yield " Insecure Registries:"
        yield from (f"  {network}" for network in insecure)
    yield f" Live Restore Enabled: {_truth(info.get('LiveRestoreEnabled'))}"
    yield ""


def _security(option: str) -> Iterator[str]:
    fields = dict(field.partition("=")[::2] for field in option.split(","))
    yield f"  {fields.pop('name', option)}"
    yield from (f"   {name.title()}: {value}" for name, value in fields.items())


def _truth(value: object) -> str:
    return "true" if value else "false"


COMMANDS = {
    "info": Command(
        "info",
        "[OPTIONS]",
        "Display system-wide information",
        run,
        (Flag("format", "f", "string", "INSPECT_FORMAT"),),
        aliases="system info, info",
    )
}
