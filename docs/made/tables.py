"""The tables of the pages, made from the code as Markdown text."""

import itertools
import json
from collections.abc import Callable

from docs.made import commands_2014, figures, served, source
from docs.made.chapters import CHAPTERS, readable
from minidock.cli.commands import GROUPS, HIDDEN, VERBS
from minidock.learn.chapters import PLANNED, written

BUDGET = 3000
REASONS = {
    "later": "not yet",
    "absent": "no such object yet",
    "swarm": "no swarm, in Docker's words",
    "swarm_mode": "never: no swarm mode",
    "plugin_system": "never: no plugins",
    "checkpoint": "never: no checkpoints",
    "buildkit": "never: BuildKit sessions",
}


def cli() -> str:
    """Return the verbs of `minidock` with their descriptions and their management forms."""
    rows = ["| verb | what it does | also | module |", "|---|---|---|---|"]
    for verb, (module, about) in sorted(VERBS.items()):
        also = ", ".join(
            f"`{group} {word}`"
            for group, words in GROUPS.items()
            for word, (_, meant) in words.items()
            if meant == verb and word not in HIDDEN
        )
        rows.append(f"| `{verb}` | {about} | {also} | {{fn}}`minidock.cli.{module}` |")
    return "\n".join(rows)


def api() -> str:
    """Return the routes of the Engine API that are served, with the function of each."""
    rows = ["| route | served by |", "|---|---|"]
    for route, function in served.ALL.items():
        if not served.refusal(function):
            rows.append(f"| `{route}` | {{fn}}`{function.__module__}:{function.__name__}` |")
    return f"{len(rows) - 2} of {len(served.ALL)} routes are served.\n\n" + "\n".join(rows)


def api_refused() -> str:
    """Return the routes that are refused, and how."""
    rows = ["| route | answer |", "|---|---|"]
    for route, function in served.ALL.items():
        if kind := served.refusal(function):
            rows.append(f"| `{route}` | {REASONS.get(kind, kind.replace('_', ' '))} |")
    return "\n".join(rows)


def chapters() -> str:
    """Return the seventeen chapters, with links to those that are written."""
    pages = {int(directory.name[:2]): directory for directory in readable()}
    begun = {int(path.name[:2]): path for path in sorted(CHAPTERS.glob("[0-9]*")) if path.is_dir()}
    asked = {chapter.number: chapter.question for chapter in written()}
    rows = ["| | chapter | its question |", "|---|---|---|"]
    for number in sorted(PLANNED.keys() | begun.keys()):
        if number in pages:
            title = pages[number].joinpath("README.md").read_text().splitlines()[0].lstrip("# 0123456789.")
            rows.append(
                f"| {number} | [{title}](_chapters/{pages[number].name}.md) | {asked.get(number, '')} |"
            )
        else:
            title = PLANNED.get(number) or begun[number].name[3:].replace("-", " ")
            rows.append(f"| {number} | {title} | not written yet |")
    return "\n".join(rows)


def overview_2014() -> str:
    """Return which of the 32 commands of 2014 work, with links to them."""
    commands = commands_2014.load()
    ready = sum(command.is_served for command in commands)
    links = {command.name: f"[{command.name}](#en-2014-{command.name})" for command in commands}
    works, later = (
        ", ".join(links[command.name] for command in commands if command.is_served is served_now)
        for served_now in (True, False)
    )
    waiting = f"\n\nNot yet: {later}." if later else ""
    return f"{ready} of {len(commands)} work in this version: {works}.{waiting}"


def core_path_figures() -> str:
    """Return how long the core path is, in one paragraph."""
    recorded = json.loads((figures.RECORDED / "core-path.json").read_text())
    functions = [source.resolve(name) for _, name in recorded["functions"]]
    total = sum(function.lines for function in functions)
    modules = {function.module for function in functions}
    return (
        f"`{recorded['command']}` on an engine that is up executes **{recorded['executed_lines']:,} lines** "
        f"of minidock (the budget is {BUDGET:,}), in {len(functions)} functions of {len(modules)} modules. "
        f"With the branches that this run does not take, and their docstrings, these functions are "
        f"{total:,} lines long."
    )


def core_path() -> str:
    """Return the functions of the core path in the order of their first call."""
    recorded = json.loads((figures.RECORDED / "core-path.json").read_text())
    parts = []
    for role, group in itertools.groupby(recorded["functions"], key=lambda row: row[0]):
        parts += [f"**In the {figures.ROLE_NAMES[role]}**", ""]
        for _module, rows in itertools.groupby(
            (name for _, name in group), key=lambda name: name.split(":")[0]
        ):
            found = [source.resolve(name) for name in rows]
            names = ", ".join(f"{{fn}}`{f.module}:{f.name}`" for f in found)
            parts.append(f"1. {names} ({sum(f.lines for f in found)} lines)")
        parts.append("")
    return "\n".join(parts)


def layers() -> str:
    """Return what each package is, in its own words."""
    rows = ["| package | what it is | modules | lines |", "|---|---|---|---|"]
    for package in source.packages():
        name = f"minidock.{package}"
        count = sum(module.startswith(f"{name}.") for module in source.modules())
        rows.append(f"| {{fn}}`{name}` | {source.summary(name)} | {count} | {source.lines_of(package):,} |")
    return "\n".join(rows)


TABLES: dict[str, Callable[..., str]] = {
    "cli": cli,
    "api": api,
    "api-refused": api_refused,
    "chapters": chapters,
    "overview-2014": overview_2014,
    "commands-2014": commands_2014.markdown,
    "core-path": core_path,
    "core-path-figures": core_path_figures,
    "layers": layers,
}
