"""The three files that every container gets over its image's own: /etc/hosts, /etc/hostname and
/etc/resolv.conf.

They live in the container's directory and are bind-mounted, so that the engine can change them while it runs,
and the image is not touched. hosts(5), hostname(5), resolv.conf(5); the content is Docker's.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.engine.model import ContainerRecord
from minidock.errors import InvalidParameter

EMBEDDED = "127.0.0.11"
HOST_GATEWAY = "host-gateway"
PUBLIC_SERVERS = ["8.8.8.8", "8.8.4.4"]
_LOCALHOST = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


@dataclass(frozen=True)
class Names:
    """What a start adds: the container's `own` addresses, (address, names) of `linked` ones, the host's
    `gateway`, and whether the `embedded` name server answers.
    """

    own: Sequence[str] = ()
    linked: Sequence[tuple[str, str]] = ()
    gateway: str = ""
    embedded: bool = False


def write(record: ContainerRecord, directory: str, names: Names | None = None) -> None:
    """Write the three files for a start of the container."""
    names = names or Names()
    _write(directory, "hosts", hosts(record, names))
    _write(directory, "hostname", hostname(record))
    _write(directory, "resolv.conf", resolv_conf(record, names.embedded))


def hosts(record: ContainerRecord, names: Names | None = None) -> str:
    """Return /etc/hosts: the host's own, or localhost; then `--add-host`, links, its own names."""
    names = names or Names()
    if record.host_config.network_mode == "host":
        text = _host_file("/etc/hosts")
        if text and not text.endswith("\n"):
            text += "\n"
    else:
        text = "".join(f"{address}\t{local}\n" for address, local in _LOCALHOST)
    for entry in record.host_config.extra_hosts or ():
        name, address = split_extra_host(entry)
        if address == HOST_GATEWAY:
            address = names.gateway or "127.0.0.1"
        text += f"{address}\t{name}\n"
    text += "".join(f"{address}\t{linked}\n" for address, linked in names.linked)
    whole = ".".join(filter(None, (record.config.hostname, record.config.domainname)))
    first = whole.partition(".")[0]
    own = whole if whole == first else f"{whole} {first}"
    return text + "".join(f"{address}\t{own}\n" for address in names.own)


def hostname(record: ContainerRecord) -> str:
    """Return /etc/hostname."""
    return f"{record.config.hostname}\n"


def resolv_conf(record: ContainerRecord, embedded: bool = False) -> str:
    """Return /etc/resolv.conf: the host's lines, replaced by `--dns*` where given.

    A container with its own network could not reach a name server on the host's loopback: if the host has no
    other, public ones stand in, as in Docker. With the `embedded` name server only that one is named.
    """
    host = record.host_config
    given = {"search": host.dns_search, "options": host.dns_options}
    lines = []
    for line in _host_file("/etc/resolv.conf").splitlines():
        keyword = line.strip().partition(" ")[0]
        if keyword in ("search", "options", "domain") and not given.get(keyword):
            lines.append(line)
    servers = name_servers(record)
    if host.network_mode != "host" and not host.dns:
        servers = [server for server in servers if not server.startswith(("127.", "::1"))] or PUBLIC_SERVERS
    lines += [f"nameserver {server}" for server in ([EMBEDDED] if embedded else servers)]
    if host.dns_search and host.dns_search != ["."]:
        lines.append(f"search {' '.join(host.dns_search)}")
    options = [*(host.dns_options or ()), *(["ndots:0"] if embedded and not host.dns_options else [])]
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def name_servers(record: ContainerRecord) -> list[str]:
    """Return the name servers that the container is to use: those of `--dns`, else all of the host's."""
    if record.host_config.dns:
        return list(record.host_config.dns)
    lines = (line.split() for line in _host_file("/etc/resolv.conf").splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def split_extra_host(entry: str) -> tuple[str, str]:
    """Split `--add-host NAME:ADDRESS` (or NAME=ADDRESS); InvalidParameter in Docker's words."""
    separator = "=" if "=" in entry else ":"
    name, found, address = entry.partition(separator)
    if not (found and name and address):
        raise InvalidParameter(f'bad format for add-host: "{entry}"')
    return name, address.strip("[]")


def _host_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1024 * 1024)
    except OSError:
        return ""


def _write(directory: str, name: str, text: str) -> None:
    """Write in place: a running container has this very file mounted, a rename would leave it the old one."""
    path = os.path.join(directory, name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(descriptor, 0o644)
