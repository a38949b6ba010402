"""What a container takes from its image: the user's words win, and what the user left out is inherited.

Tty, OpenStdin and StdinOnce are never inherited. Naming an entrypoint forgets the image's command, since the
one was written for the other. Source: Docker's `Config` rules for create, by behaviour.
"""

from typing import Any

import msgspec

from minidock.engine.model import ContainerConfig, Healthcheck
from minidock.errors import InvalidParameter
from minidock.formats.image import ExecutionConfig


def merged(user: ContainerConfig, image: ExecutionConfig | None) -> ContainerConfig:
    """Return `user` completed from the image's execution config. The arguments stay as they are."""
    image = image or ExecutionConfig()
    result = msgspec.structs.replace(user)
    result.user = user.user or image.user
    result.exposed_ports = _union(user.exposed_ports, image.exposed_ports)
    result.volumes = _union(user.volumes, image.volumes)
    result.labels = {**(image.labels or {}), **(user.labels or {})}
    result.env = environment(user.env, image.env) or None
    result.working_dir = user.working_dir or image.working_dir
    result.stop_signal = user.stop_signal or image.stop_signal or None
    result.healthcheck = _health(user.healthcheck, image)
    result.entrypoint, result.cmd = _command(user, image)
    return result


def command_line(config: ContainerConfig) -> tuple[str, list[str]]:
    """Return the program and its arguments; InvalidParameter when there is neither entrypoint nor command."""
    words = [*(config.entrypoint or ()), *(config.cmd or ())]
    if not words or not words[0]:
        raise InvalidParameter("no command specified")
    return words[0], words[1:]


def environment(user: list[str] | None, image: list[str] | None) -> list[str]:
    """Return the user's variables, then those of the image that the user does not name."""
    named = {entry.partition("=")[0] for entry in user or ()}
    return [*(user or ()), *(entry for entry in image or () if entry.partition("=")[0] not in named)]


def _command(user: ContainerConfig, image: ExecutionConfig) -> tuple[list[str] | None, list[str] | None]:
    entrypoint, command = user.entrypoint, user.cmd
    if not entrypoint:
        command = command or image.cmd
        entrypoint = image.entrypoint if entrypoint is None else entrypoint
    if entrypoint == [""]:  # `--entrypoint ""` takes the image's away
        entrypoint = None
    return entrypoint, command


def _union(user: dict[str, Any] | None, image: dict[str, Any] | None) -> dict[str, Any] | None:
    return {**(image or {}), **(user or {})} or None


def _health(user: Healthcheck | None, image: ExecutionConfig) -> Healthcheck | None:
    """Return the check to run: each field that the user leaves at zero is the image's."""
    if image.healthcheck is None:
        return user
    inherited = msgspec.structs.asdict(image.healthcheck)
    given = msgspec.structs.asdict(user) if user else {}
    return Healthcheck(**{**inherited, **{name: value for name, value in given.items() if value}})
