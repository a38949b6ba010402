"""Dockerfile instructions that change an image's config without running anything: `--change` of import and
commit.

Each is a function from the config and the instruction to a new config; the table at the end says which there
are. Docker's `docker import --change` and the Dockerfile reference; sentences as Docker's where it has one.
"""

import posixpath
import re
import signal
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from minidock.errors import InvalidParameter
from minidock.formats.dockerfile import Instruction, json_words, parse
from minidock.formats.durations import duration_ns
from minidock.formats.image import ExecutionConfig, Healthcheck
from minidock.formats.shellwords import expand, split

SHELL = ("/bin/sh", "-c")
DURATION_MIN = 1_000_000
PORT_MAX = 65535
_port = re.compile(r"\A([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")


def apply_changes(config: ExecutionConfig, changes: Sequence[str]) -> ExecutionConfig:
    """Return `config` changed by Dockerfile lines; variables are those of its environment so far.

    An ENTRYPOINT takes away a CMD that was meant for the old one, unless a change sets CMD too.
    """
    if not changes:
        return config
    is_cmd_set = False
    for instruction in parse("\n".join(changes)):
        change = CHANGES.get(instruction.name)
        if change is None:
            raise InvalidParameter(f"{instruction.name.lower()} is not a valid change command")
        if instruction.flags and instruction.name != "HEALTHCHECK":
            raise InvalidParameter(f"Unknown flag: {instruction.flags[0][0]}")
        config = change(config, instruction)
        is_cmd_set = is_cmd_set or instruction.name == "CMD"
        if instruction.name == "ENTRYPOINT" and not is_cmd_set:
            config = replace(config, cmd=None)
    return config


def variables_of(config: ExecutionConfig) -> dict[str, str]:
    """Return the environment as a mapping."""
    return {name: value for name, _, value in (each.partition("=") for each in config.env or ())}


def command_words(instruction: Instruction, shell: Sequence[str]) -> list[str]:
    """Return the words of a command: those of the JSON form, else the text, for a shell to read."""
    words = json_words(instruction.text)
    if words is not None:
        return words
    return [*shell, instruction.text] if instruction.text else list(shell)


def _cmd(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    return replace(config, cmd=command_words(instruction, config.shell or SHELL))


def _entrypoint(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    if not instruction.text or json_words(instruction.text) == []:
        return replace(config, entrypoint=None)
    return replace(config, entrypoint=command_words(instruction, config.shell or SHELL))


def _env(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    environment = variables_of(config)
    environment |= _pairs(instruction, dict(environment))
    return replace(config, env=[f"{name}={value}" for name, value in environment.items()])


def _label(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    return replace(config, labels={**(config.labels or {}), **_pairs(instruction, variables_of(config))})


def _expose(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    ports = dict(config.exposed_ports or {})
    for word in _words(config, instruction):
        number, slash, protocol = word.partition("/")
        protocol = protocol.lower() if slash else "tcp"
        if protocol not in ("tcp", "udp", "sctp"):
            raise InvalidParameter(f"Invalid proto: {protocol}")
        match = _port.match(number)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= PORT_MAX:
            raise InvalidParameter(f"Invalid containerPort: {number}")
        ports |= {f"{port}/{protocol}": {} for port in range(first, last + 1)}
    return replace(config, exposed_ports=ports)


def _volume(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    words = json_words(instruction.text)
    paths = _words(config, instruction) if words is None else words
    if not paths or not all(path.strip() for path in paths):
        raise InvalidParameter("VOLUME specified can not be an empty string")
    return replace(config, volumes={**(config.volumes or {}), **{path: {} for path in paths}})


def _user(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    return replace(config, user=_one(config, instruction))


def _workdir(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    path = _one(config, instruction)
    if not path.startswith("/"):
        path = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    return replace(config, working_dir=path)


def _stop_signal(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    word = _one(config, instruction)
    name = word.upper().removeprefix("SIG")
    real_time = re.fullmatch(r"RTM(IN\+|AX-)[0-9]+", name)
    number = int(word) if word.isdecimal() else 0
    if not (0 < number < signal.NSIG or f"SIG{name}" in signal.Signals.__members__ or real_time):
        raise InvalidParameter(f"Invalid signal: {word}")
    return replace(config, stop_signal=word)


def _on_build(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    if not instruction.text:
        raise InvalidParameter("ONBUILD requires at least one argument")
    trigger = instruction.text.split()[0].upper()
    if trigger == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise InvalidParameter(f"{trigger} isn't allowed as an ONBUILD trigger")
    return replace(config, on_build=[*(config.on_build or ()), instruction.text])


def _healthcheck(config: ExecutionConfig, instruction: Instruction) -> ExecutionConfig:
    kind, _, rest = instruction.text.partition(" ")
    kind, rest = kind.upper(), rest.strip()
    if kind == "NONE":
        if rest or instruction.flags:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return replace(config, healthcheck=Healthcheck(test=["NONE"]))
    if kind != "CMD":
        raise InvalidParameter(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    words = json_words(rest)
    if not rest or words == []:
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    members: dict[str, int] = {}
    for name, value in instruction.flags:
        if name == "retries":
            members["retries"] = _retries(value)
        elif name in ("interval", "timeout", "start-period", "start-interval"):
            members[name.replace("-", "_")] = _check_time(name, value)
        else:
            raise InvalidParameter(f"Unknown flag: {name}")
    test = ["CMD-SHELL", rest] if words is None else ["CMD", *words]
    return replace(config, healthcheck=Healthcheck(test, **members))


def _retries(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise InvalidParameter(f"--retries must be a number (not {text!r})")
    if int(text) < 1:
        raise InvalidParameter(f"--retries must be at least 1 (not {text})")
    return int(text)


def _check_time(name: str, text: str) -> int:
    nanoseconds = duration_ns(text)
    if 0 < nanoseconds < DURATION_MIN:
        raise InvalidParameter(f'Interval "{name}" cannot be less than 1ms')
    return nanoseconds


def _pairs(instruction: Instruction, variables: Mapping[str, str]) -> dict[str, str]:
    """Read `name=value ...`, or the older `name value` where all of the rest is the value.

    Variables are those from before the whole instruction: in `ENV a=1 b=$a` the second sees the old `a`.
    """
    escape = instruction.escape
    words = split(instruction.text, escape)
    if not words:
        raise InvalidParameter(f"{instruction.name} requires at least one argument")
    if "=" not in words[0]:
        name, value = words[0], instruction.text[len(words[0]) :].strip()
        if not value:
            raise InvalidParameter(f"{instruction.name} must have two arguments")
        return {expand(name, variables, escape): expand(value, variables, escape)}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidParameter(
                f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value'
            )
        name = expand(name, variables, escape)
        if not name:
            raise InvalidParameter(f"{instruction.name} names can not be blank")
        found[name] = expand(value, variables, escape)
    return found


def _words(config: ExecutionConfig, instruction: Instruction) -> list[str]:
    words = [
        expand(word, variables_of(config), instruction.escape)
        for word in split(instruction.text, instruction.escape)
    ]
    if not words:
        raise InvalidParameter(f"{instruction.name} requires at least one argument")
    return [part for word in words for part in (word.split() or [""])]


def _one(config: ExecutionConfig, instruction: Instruction) -> str:
    if not instruction.text:
        raise InvalidParameter(f"{instruction.name} requires exactly one argument")
    return expand(instruction.text, variables_of(config), instruction.escape)


CHANGES: Mapping[str, Callable[[ExecutionConfig, Instruction], ExecutionConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
