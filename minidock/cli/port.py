"""`minidock port`: where a container's ports are published."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Options


def run(options: Options) -> int:
    """Print all mappings, or those of one port."""
    container, wanted = options.arguments[0], (*options.arguments, "")[1]
    answer = Client(options.host).call("GET", f"/containers/{container}/json")
    published: dict[str, list[dict[str, str]] | None] = answer["NetworkSettings"].get("Ports") or {}
    if wanted:
        number, _, protocol = wanted.partition("/")
        is_number = number.isascii() and number.isdecimal()
        if not is_number or int(number) > 65535:
            why = "value out of range" if is_number else "invalid syntax"
            raise Failure(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": {why}')
        bindings = published.get(f"{number}/{protocol or 'tcp'}")
        if not bindings:
            raise Failure(f"Error: No public port '{wanted}' published for {container}")
        sys.stdout.writelines(f"{_address(binding)}\n" for binding in bindings)
        return 0
    for port in sorted(published, key=lambda port: (int(port.partition("/")[0]), port)):
        sys.stdout.writelines(f"{port} -> {_address(binding)}\n" for binding in published[port] or ())
    return 0


def _address(binding: dict[str, str]) -> str:
    address = binding["HostIp"]
    return f"[{address}]:{binding['HostPort']}" if ":" in address else f"{address}:{binding['HostPort']}"


COMMANDS = {
    "port": Command(
        "port",
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        "List port mappings or a specific mapping for the container",
        run,
        (),
        (1, 2),
        aliases="container port, port",
    )
}
