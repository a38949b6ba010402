"""`minidock update`: other limits for containers, and another restart policy."""

from __future__ import annotations

import sys

from minidock.cli.client import Client
from minidock.cli.create_flags import LIMITS
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELDS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def run(options: Options) -> int:
    """Update each container; print its name, and the warnings of all."""
    from minidock.cli.create_body import restart_policy

    body: dict[str, Any] = {field: options[name] for name, field in FIELDS.items() if name in options}
    if "restart" in options:
        body["RestartPolicy"] = restart_policy(options["restart"])
    if not body:
        raise Failure("you must provide one or more flags when using this command")
    client = Client(options.host)
    warnings: list[str] = []
    errors: list[str] = []
    for name in options.arguments:
        try:
            answer = client.call("POST", f"/containers/{name}/update", None, body)
        except EngineError as error:
            errors.append(str(error))
            continue
        sys.stdout.write(f"{name}\n")
        warnings += (answer or {}).get("Warnings") or ()
    sys.stdout.writelines(f"{warning}\n" for warning in warnings)
    if errors:
        raise Failure("\n".join(errors))
    return 0


COMMANDS = {
    "update": Command(
        "update",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Update configuration of one or more containers",
        run,
        (
            *(flag for flag in LIMITS if flag.name in FIELDS),
            Flag("restart", "", "string", "Restart policy to apply when a container exits"),
        ),
        (1, None),
        aliases="container update, update",
    )
}
