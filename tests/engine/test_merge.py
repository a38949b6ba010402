"""What a container takes from its image."""

import pytest

from minidock.engine import merge
from minidock.engine.model import ContainerConfig, Healthcheck
from minidock.errors import InvalidParameter
from minidock.formats import image

IMAGE = image.ExecutionConfig(
    user="web",
    env=["PATH=/image", "A=image"],
    entrypoint=["/entry"],
    cmd=["from", "image"],
    working_dir="/srv",
    labels={"a": "image", "b": "image"},
    exposed_ports={"80/tcp": {}},
    stop_signal="QUIT",
    tty=True,
    open_stdin=True,
    healthcheck=image.Healthcheck(test=["CMD", "x"], interval=5, retries=3),
)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "line"),
    [
        (None, None, ["/entry", "from", "image"]),
        (None, ["mine"], ["/entry", "mine"]),
        (["/my"], None, ["/my"]),
        (["/my"], ["arg"], ["/my", "arg"]),
        ([""], ["mine"], ["mine"]),
        ([], None, ["from", "image"]),
    ],
)
def test_naming_an_entrypoint_forgets_the_images_command(
    entrypoint: list[str] | None, cmd: list[str] | None, line: list[str]
) -> None:
    config = merge.merged(ContainerConfig(entrypoint=entrypoint, cmd=cmd), IMAGE)
    path, arguments = merge.command_line(config)
    assert [path, *arguments] == line


def test_no_command_at_all_is_refused() -> None:
    for config in (
        merge.merged(ContainerConfig(), None),
        merge.merged(ContainerConfig(entrypoint=[""]), IMAGE),
    ):
        with pytest.raises(InvalidParameter, match="no command specified"):
            merge.command_line(config)


def test_the_users_words_win_and_the_rest_is_inherited() -> None:
    user = ContainerConfig(env=["A=mine", "C=3"], labels={"a": "mine"}, exposed_ports={"81/tcp": {}})
    config = merge.merged(user, IMAGE)
    assert config.env == ["A=mine", "C=3", "PATH=/image"]
    assert config.labels == {"a": "mine", "b": "image"}
    assert set(config.exposed_ports or ()) == {"80/tcp", "81/tcp"}
    assert (config.user, config.working_dir, config.stop_signal) == ("web", "/srv", "QUIT")
    assert user.env == ["A=mine", "C=3"]


def test_the_terminal_is_never_inherited() -> None:
    config = merge.merged(ContainerConfig(), IMAGE)
    assert (config.tty, config.open_stdin, config.stdin_once) == (False, False, False)


def test_a_health_check_is_inherited_field_by_field() -> None:
    config = merge.merged(ContainerConfig(healthcheck=Healthcheck(interval=9)), IMAGE)
    assert config.healthcheck == Healthcheck(test=["CMD", "x"], interval=9, retries=3)
