"""The options of `minidock daemon`, in dockerd's spelling where dockerd has them."""

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minidock.api.tls import Files
from minidock.api.ways_in import Security
from minidock.engine.engine import Configuration
from minidock.errors import InvalidParameter
from minidock.paths import DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT, Paths

DEFAULT_GROUP = "docker"
BRIDGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


@dataclass(frozen=True)
class DaemonOptions:
    """What one daemon is told at its start; `group` None is the group `docker` if there is one, else root."""

    engine: Configuration = field(default_factory=Configuration)
    hosts: tuple[str, ...] = ()
    group: str | None = None
    pid_file: str = ""
    warnings: tuple[str, ...] = ()
    security: Security = field(default_factory=Security)

    @property
    def listen_on(self) -> tuple[str, ...]:
        """The hosts given, or the one below the exec root."""
        return self.hosts or (f"unix://{self.engine.paths.exec_root}/minidock.sock",)


def parse_options(arguments: Sequence[str]) -> DaemonOptions:
    """Read the command line; InvalidParameter for a bad value, and argparse's own exit 2 for a bad option."""
    values = _parser().parse_args(arguments)
    paths = Paths(os.path.abspath(values.data_root), os.path.abspath(values.exec_root))
    if not values.cgroup_parent.startswith("/") or ".." in values.cgroup_parent.split("/"):
        raise InvalidParameter(
            f"invalid --cgroup-parent {values.cgroup_parent!r}: expected an absolute path like /minidock"
        )
    configuration = Configuration(
        paths=paths,
        cgroup_parent=values.cgroup_parent,
        labels=tuple(values.label),
        debug=values.debug,
        log_options=dict(_pair(option, "--log-opt") for option in values.log_opt),
        replacements=tuple(_replacement(text) for text in values.replace),
        bridge=_bridge(values.bridge),
        bip=_bip(values.bip),
    )
    pid_file = os.path.abspath(values.pidfile) if values.pidfile else paths.pid_file
    return DaemonOptions(
        configuration, tuple(values.host), values.group, pid_file, security=_security(values)
    )


def _security(values: argparse.Namespace) -> Security:
    """Return how TCP is protected; files that are not named are where docker looks for them."""
    if not (values.tls or values.tlsverify):
        return Security(None, values.insecure_tcp)
    folder = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
    authority, certificate, key = (
        given or os.path.join(folder, name)
        for given, name in (
            (values.tlscacert, "ca.pem"),
            (values.tlscert, "cert.pem"),
            (values.tlskey, "key.pem"),
        )
    )
    return Security(Files(authority, certificate, key, values.tlsverify), values.insecure_tcp)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidock daemon", description="Run the engine in the foreground.", allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "-H",
        "--host",
        action="append",
        default=[],
        metavar="unix://PATH|tcp://ADDRESS:PORT|fd://",
        help="where to listen; may be repeated",
    )
    add(
        "--data-root",
        default=DEFAULT_DATA_ROOT,
        metavar="DIR",
        help="images, containers: what survives a reboot",
    )
    add("--exec-root", default=DEFAULT_EXEC_ROOT, metavar="DIR", help="sockets and locks: what does not")
    add("-G", "--group", metavar="NAME", help='group of the socket (default: "docker" if it exists)')
    add(
        "-p",
        "--pidfile",
        metavar="FILE",
        help="where to write the process id (default EXEC-ROOT/minidock.pid)",
    )
    add(
        "--cgroup-parent",
        default="/minidock",
        metavar="PATH",
        help="cgroup below which containers get theirs",
    )
    add("--bridge", metavar="NAME", default="", help='the default bridge; "none": a loopback only')
    add("--bip", metavar="CIDR", default="", help="the bridge's address and prefix length")
    add(
        "--label",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a label of the engine, for docker info",
    )
    add(
        "--log-opt",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="default log option (max-size, max-file)",
    )
    add(
        "--replace",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION=FILE",
        help="run FILE's function instead",
    )
    _add_security(add)
    add("-D", "--debug", action="store_true", help="log every request that fails")
    return parser


def _add_security(add: Callable[..., argparse.Action]) -> None:
    """Add the options that protect tcp:// hosts."""
    add("--tls", action="store_true", help="use TLS on tcp:// hosts")
    add("--tlsverify", action="store_true", help="use TLS and ask clients for a certificate of the CA")
    add("--tlscacert", metavar="FILE", help="the CA of the clients (default ~/.docker/ca.pem)")
    add("--tlscert", metavar="FILE", help="the engine's certificate (default ~/.docker/cert.pem)")
    add("--tlskey", metavar="FILE", help="its key (default ~/.docker/key.pem)")
    add(
        "--insecure-tcp",
        action="store_true",
        help="listen on tcp:// off loopback without client certificates: whoever reaches it is root here",
    )


def _bridge(name: str) -> str:
    if name and not BRIDGE_NAME.fullmatch(name):
        raise InvalidParameter(f"invalid --bridge {name!r}: expected a link's name, at most 15 characters")
    return name


def _bip(text: str) -> str:
    try:
        if text and ("/" not in text or ipaddress.IPv4Interface(text).network.prefixlen > 30):
            raise ValueError("the prefix is missing or too long")
    except ValueError as error:
        raise InvalidParameter(f"invalid --bip {text!r}: expected ADDRESS/PREFIX: {error}") from None
    return text


def _pair(text: str, option: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise InvalidParameter(f"invalid {option} {text!r}: expected KEY=VALUE")
    return key, value


def _replacement(text: str) -> tuple[str, str]:
    target, separator, path = text.partition("=")
    module, colon, function = target.partition(":")
    if not (separator and colon and path and function.isidentifier() and module.startswith("minidock.")):
        raise InvalidParameter(f"invalid --replace {text!r}: expected minidock.MODULE:FUNCTION=FILE")
    return target, os.path.abspath(path)
