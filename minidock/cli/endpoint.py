"""Which engine is meant when more than an address says so: a context, or the files for TLS.

Without `--tls`, `--tlsverify`, `--context` and their variables nothing here is imported. The rules are those
of docker's command line: its documentation of `docker context`, and "Protect the Docker daemon socket".
"""

from __future__ import annotations

import os

from minidock.cli import quickjson
from minidock.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Options

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
TLS_HOST = "tcp://localhost:2376"
DEFAULT_CONTEXT = "default"


class Files:
    """The PEM files of a client: paths, None for one that is not used; `verify` checks the engine's side."""

    __slots__ = ("authority", "certificate", "key", "verify")

    def __init__(self, authority: str | None, certificate: str | None, key: str | None, verify: bool) -> None:
        self.authority, self.certificate, self.key, self.verify = authority, certificate, key, verify


class Endpoint:
    """An address, "" for the engine that is meant by default, and how it is spoken to."""

    __slots__ = ("files", "host")

    def __init__(self, host: str, files: Files | None = None) -> None:
        self.host, self.files = host, files


def choose(options: Options) -> Endpoint:
    """Return the endpoint that the options before the verb and the environment name."""
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    name = _context_name(options)
    if name != DEFAULT_CONTEXT:
        return _context(options["config"] or directory, name)
    hosts = options["host"]
    host = hosts[0] if hosts else os.environ.get("MINIDOCK_HOST") or os.environ.get("DOCKER_HOST") or ""
    verify = options["tlsverify"] if "tlsverify" in options else bool(os.environ.get("DOCKER_TLS_VERIFY"))
    encrypted = options["tls"] if "tls" in options else bool(os.environ.get("DOCKER_TLS"))
    if not (verify or encrypted or "tlsverify" in options):
        return Endpoint(host)
    place = os.environ.get("DOCKER_CERT_PATH") or directory  # --config does not count here, with docker too
    authority = _path(options, "tlscacert", place, CA)
    certificate, key = _path(options, "tlscert", place, CERTIFICATE), _path(options, "tlskey", place, KEY)
    return Endpoint(host or TLS_HOST, Files(authority, certificate, key, verify))


def _path(options: Options, flag: str, directory: str, name: str) -> str | None:
    """Return the file for a flag; only the client's own pair may be missing, if nobody named it."""
    path = options[flag] if flag in options else os.path.join(directory, name)
    if not path:
        return None
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if flag not in options and name != CA and isinstance(error, FileNotFoundError):
            return None
        raise unresolved(f"open {path}: {(error.strerror or '').lower()}") from None
    return str(path)


def unresolved(problem: str) -> Failure:
    """Return the refusal of an endpoint that makes no sense."""
    return Failure(f"Failed to initialize: unable to resolve docker endpoint: {problem}")


def _context_name(options: Options) -> str:
    """Return the context that was asked for by name. Docker's own current context is not ours to follow."""
    if options["context"]:
        if options["host"]:
            raise Failure("conflicting options: cannot specify both --host and --context")
        return str(options["context"])
    if options["host"] or os.environ.get("MINIDOCK_HOST") or os.environ.get("DOCKER_HOST"):
        return DEFAULT_CONTEXT
    return os.environ.get("DOCKER_CONTEXT") or DEFAULT_CONTEXT


def _context(directory: str, name: str) -> Endpoint:
    """Read a context as `docker context create` has written it: contexts/{meta,tls}/SHA-256 of the name."""
    import hashlib

    digest = hashlib.sha256(name.encode()).hexdigest()
    path = os.path.join(directory, "contexts", "meta", digest, "meta.json")
    try:
        with open(path, "rb") as file:
            found: Any = quickjson.decode(file.read())
    except OSError as error:
        problem = f"context not found: open {path}: {(error.strerror or '').lower()}"
        raise unresolved(f'context "{name}": {problem}') from None
    except ValueError:
        found = None
    meant = found["Endpoints"].get("docker") if _is_context(found) else None
    if not isinstance(meant, dict):
        raise unresolved(f'context "{name}" names no docker endpoint: {path}')
    place = os.path.join(directory, "contexts", "tls", digest, "docker")
    authority, certificate, key = (_present(os.path.join(place, file)) for file in (CA, CERTIFICATE, KEY))
    unchecked = bool(meant.get("SkipTLSVerify"))
    is_encrypted = unchecked or authority or certificate or key
    files = Files(authority, certificate, key, not unchecked) if is_encrypted else None
    return Endpoint(str(meant.get("Host") or ""), files)


def _present(path: str) -> str | None:
    return path if os.path.isfile(path) else None


def _is_context(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("Endpoints"), dict)
