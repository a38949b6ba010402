"""`minidock stats`: what containers use, as a table that is drawn anew every second."""

from __future__ import annotations

import sys
import time

from minidock.cli.client import Client
from minidock.cli.failure import EngineError, Failure
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import USUAL, Listing, Row
from minidock.cli.units import binary_size, short_id, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
INTERVAL = 1.0  # seconds
HOME_AND_CLEAR = "\033[2J\033[H"


def run(options: Options) -> int:
    """Print the table once, or again and again."""
    listing = Listing(HEADERS, COLUMNS, "*container.statsContext", options["format"], USUAL)
    client = Client(options.host)
    before: dict[str, Any] = {}
    if options["no-stream"]:
        before = _samples(client, _names(client, options))
    while True:
        if before:
            time.sleep(INTERVAL)
        now = _samples(client, _names(client, options))
        rows = [_row(name, before.get(name), one, options["no-trunc"]) for name, one in now.items()]
        if not options["no-stream"]:
            sys.stdout.write(HOME_AND_CLEAR)
        listing.write(rows)
        sys.stdout.flush()
        if options["no-stream"]:
            return 0
        before = now or {"": None}


def _names(client: Client, options: Options) -> list[str]:
    if options.arguments:
        return options.arguments
    return [one["Id"] for one in client.call("GET", "/containers/json", {"all": options["all"]})]


def _samples(client: Client, names: list[str]) -> dict[str, Any]:
    """Return one sample of each container: a share of the CPU takes two."""
    found, problems = {}, []
    for name in names:
        try:
            found[name] = client.call("GET", f"/containers/{name}/stats", {"stream": "0", "one-shot": True})
        except EngineError as error:
            problems.append(str(error))
    if problems:
        raise Failure("\n".join(problems))
    return found


def _row(name: str, before: Any, found: Any, whole: bool) -> Row:
    identifier = found["id"]
    row: Row = {
        "Container": name,
        "ID": identifier if whole else short_id(identifier),
        "Name": found["name"].removeprefix("/"),
    }
    used = found["memory_stats"]
    if not used:
        return row | {
            "CPUPerc": "0.00%",
            "MemUsage": "0B / 0B",
            "MemPerc": "0.00%",
            "NetIO": "0B / 0B",
            "BlockIO": "0B / 0B",
            "PIDs": "0",
        }
    memory, limit = used["usage"] - cache(used.get("stats") or {}), used["limit"]
    networks = (found.get("networks") or {}).values()
    received, sent = (sum(one[way] for one in networks) for way in ("rx_bytes", "tx_bytes"))
    read, written = _block_io(found["blkio_stats"])
    return row | {
        "CPUPerc": f"{cpu_percent((before or found)['cpu_stats'], found['cpu_stats']):.2f}%",
        "MemUsage": f"{binary_size(memory)} / {binary_size(limit)}",
        "MemPerc": f"{100 * memory / limit if limit else 0:.2f}%",
        "NetIO": f"{size(received, 3)} / {size(sent, 3)}",
        "BlockIO": f"{size(read, 3)} / {size(written, 3)}",
        "PIDs": str(found["pids_stats"].get("current", 0)),
    }


def cache(counters: dict[str, int]) -> int:
    """Return the bytes of files that the kernel could drop at once: they are not counted as used."""
    return counters.get("total_inactive_file", counters.get("inactive_file", 0))


def cpu_percent(before: dict[str, Any], now: dict[str, Any]) -> float:
    """Return the share of one CPU, in percent, that was used between two samples."""
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    whole = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return used / whole * now.get("online_cpus", 1) * 100 if used > 0 and whole > 0 else 0.0


def _block_io(found: dict[str, Any]) -> tuple[int, int]:
    counters = found.get("io_service_bytes_recursive") or ()
    by_operation = [(one["op"].lower(), one["value"]) for one in counters]
    read, written = (sum(value for op, value in by_operation if op == wanted) for wanted in ("read", "write"))
    return read, written


COMMANDS = {
    "stats": Command(
        "stats",
        "[OPTIONS] [CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
        run,
        (
            Flag("all", "a", "bool", "Show all containers (default shows just running)"),
            Flag("format", "", "string", "FORMAT"),
            Flag("no-stream", "", "bool", "Disable streaming stats and only pull the first result"),
            Flag("no-trunc", "", "bool", "Do not truncate output"),
        ),
        (0, None),
        aliases="container stats, stats",
    )
}
