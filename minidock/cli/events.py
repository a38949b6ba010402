"""`minidock events`: what happens in the engine, as it happens."""

from __future__ import annotations

import sys

from minidock.cli import quickjson
from minidock.cli.client import Client, filters
from minidock.cli.flags import Command, Flag, Options
from minidock.cli.listing import Words, execute, parse_template
from minidock.cli.since import moment
from minidock.cli.units import nanosecond_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE_NAME = "*events.Message"
WORDS = Words("Error parsing format", "Error parsing format", 64)
SAMPLE: dict[str, Any] = {
    "status": "",
    "id": "",
    "from": "",
    "Type": "",
    "Action": "",
    "Actor": {"ID": "", "Attributes": {}},
    "scope": "",
    "time": 0,
    "timeNano": 0,
}


def run(options: Options) -> int:
    """Print events until the engine or `--until` ends them."""
    template = None
    if options["format"] == "json":
        from minidock.formats.gotemplate_functions import to_json
    if options["format"] and options["format"] != "json":
        template = parse_template(options["format"], words=WORDS)
        execute(template, SAMPLE, TYPE_NAME, WORDS)  # a template that is wrong is refused before all else
    response = Client(options.host).open(
        "GET",
        "/events",
        {
            "since": moment(options["since"]),
            "until": moment(options["until"]),
            "filters": filters(options["filter"]),
        },
    )
    for line in response.lines():
        if not line.strip():
            continue
        if options["format"] == "json":
            text = to_json(_ordered(quickjson.decode(line)))
        elif template:
            text = execute(template, {**SAMPLE, **_ordered(quickjson.decode(line))}, TYPE_NAME, WORDS)
        else:
            text = _line(quickjson.decode(line))
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    return 0


def _ordered(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its members in the order of docker's own type."""
    actor = event.get("Actor") or {}
    attributes = dict(sorted((actor.get("Attributes") or {}).items()))
    found = {name: event[name] for name in SAMPLE if name in event}
    if "Actor" in found:
        found["Actor"] = {"ID": actor.get("ID", ""), "Attributes": attributes}
    return found


def _line(event: dict[str, Any]) -> str:
    actor = event.get("Actor") or {}
    attributes = ", ".join(
        f"{name}={value}" for name, value in sorted((actor.get("Attributes") or {}).items())
    )
    text = f"{nanosecond_time(event['timeNano'])} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text


COMMANDS = {
    "events": Command(
        "events",
        "[OPTIONS]",
        "Get real time events from the server",
        run,
        (
            Flag("filter", "f", "filter", "Filter output based on conditions provided"),
            Flag("format", "", "string", "INSPECT_FORMAT"),
            Flag("since", "", "string", "Show all events created since timestamp"),
            Flag("until", "", "string", "Stream events until this timestamp"),
        ),
        aliases="system events, events",
    )
}
