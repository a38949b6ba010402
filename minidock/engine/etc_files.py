"""The three files that every container gets over its image's own: /etc/hosts, /etc/hostname and
/etc/resolv.conf.

They live in the container's directory and are bind-mounted, so that the engine can change them while it runs,
and the image is not touched. hosts(5), hostname(5), resolv.conf(5); the content is Docker's.
"""

import os

from minidock.engine.model import ContainerRecord
from minidock.errors import InvalidParameter

_LOCALHOST = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def write(record: ContainerRecord, directory: str) -> None:
    """Write the three files for a start of the container."""
    _write(directory, "hosts", hosts(record))
    _write(directory, "hostname", hostname(record))
    _write(directory, "resolv.conf", resolv_conf(record))


def hosts(record: ContainerRecord) -> str:
    """Return /etc/hosts: the host's own with its network, else localhost; then `--add-host`."""
    if record.host_config.network_mode == "host":
        text = _host_file("/etc/hosts")
        if text and not text.endswith("\n"):
            text += "\n"
    else:
        text = "".join(f"{address}\t{names}\n" for address, names in _LOCALHOST)
    for entry in record.host_config.extra_hosts or ():
        name, address = split_extra_host(entry)
        text += f"{address}\t{name}\n"
    return text


def hostname(record: ContainerRecord) -> str:
    """Return /etc/hostname."""
    config = record.config
    return f"{config.hostname}.{config.domainname}\n" if config.domainname else f"{config.hostname}\n"


def resolv_conf(record: ContainerRecord) -> str:
    """Return /etc/resolv.conf: the host's lines, without name servers on its loopback, replaced by `--dns*`
    where given.

    A container with its own network could not reach the host's 127.0.0.53.
    """
    host = record.host_config
    given = {"nameserver": host.dns, "search": host.dns_search, "options": host.dns_options}
    lines = []
    for line in _host_file("/etc/resolv.conf").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        local = (
            keyword == "nameserver"
            and rest.strip().startswith(("127.", "::1"))
            and host.network_mode != "host"
        )
        if not given.get(keyword) and not local and keyword in ("nameserver", "search", "options", "domain"):
            lines.append(line)
    lines += [f"nameserver {server}" for server in host.dns or ()]
    if host.dns_search and host.dns_search != ["."]:
        lines.append(f"search {' '.join(host.dns_search)}")
    if host.dns_options:
        lines.append(f"options {' '.join(host.dns_options)}")
    return "".join(f"{line}\n" for line in lines)


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
