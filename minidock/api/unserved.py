"""The documented routes that this engine does not serve: each is refused by name, none in silence.

A route that is missing looks to a client like a wrong address (404); one that is refused tells the user
what is not there.
"""

from collections.abc import Callable

from minidock.api.exchange import Exchange, Reply
from minidock.engine.engine import Engine
from minidock.errors import NotFound, Unavailable, Unsupported

SWARM_SENTENCE = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
    "to swarm and try again."
)

Function = Callable[..., Reply | None]


def later(what: str) -> Function:
    """Return a route function that says that `what` is not served by this engine yet."""

    def refuse(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
        raise Unsupported(f"{what} is not served by this version of minidock yet")

    return refuse


def absent(sentence: str) -> Function:
    """Return a route function for objects of which there are none; `sentence` has a `{}` for the name.

    Must be a 404: `docker inspect NAME` asks for every kind of object in turn, and goes on only then.
    """

    def refuse(engine: Engine, exchange: Exchange, name: str) -> Reply | None:
        raise NotFound(sentence.format(name))

    return refuse


def swarm(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
    """Refuse as a Docker engine outside a swarm does (clients know this sentence)."""
    raise Unavailable(SWARM_SENTENCE)


def swarm_mode(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
    """Refuse to begin or join a swarm: there is none to be had."""
    raise Unsupported("swarm mode is not part of minidock; minidock-runc runs beneath orchestrators instead")


def plugin_system(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
    """Refuse Docker's plugin system."""
    raise Unsupported("plugins are not part of minidock")


def checkpoint(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
    """Refuse checkpoint and restore."""
    raise Unsupported("checkpoint is not part of minidock")


def buildkit(engine: Engine, exchange: Exchange, *arguments: str) -> Reply | None:
    """Refuse BuildKit's sessions: a client that must not use them needs to be told how."""
    raise Unsupported("BuildKit sessions are not served: set DOCKER_BUILDKIT=0")
