"""Ports on the command line: `80`, `8080:80`, `127.0.0.1:81:82/udp`, `1000-1002:2000-2002`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Bindings = dict[str, list[dict[str, str]]]

PROTOCOLS = ("tcp", "udp", "sctp")


def bindings(specifications: list[str]) -> Bindings:
    """Return {"80/tcp": [{"HostIp", "HostPort"}]}; raise ValueError naming the part that is wrong."""
    result: Bindings = {}
    for text in specifications:
        spec, _, protocol = _long_form(text).partition("/")
        protocol = (protocol or "tcp").lower()
        if protocol not in PROTOCOLS:
            raise ValueError(f"invalid proto: {protocol}")
        address, host, container = _parts(spec)
        if not container:
            raise ValueError(f"no port specified: {_long_form(text)}<empty>")
        first, last = _range(container, "containerPort")
        low, high = _range(host, "hostPort") if host else (0, 0)
        single = first == last and high != low  # one container port, any free one of a host range
        if host and high - low != last - first and not single:
            raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
        for offset in range(last - first + 1):
            host_port = "" if not host else f"{low}-{high}" if single else str(low + offset)
            result.setdefault(f"{first + offset}/{protocol}", []).append(
                {"HostIp": address, "HostPort": host_port}
            )
    return result


def exposed(specifications: list[str]) -> list[str]:
    """Return ["90/udp", "91/udp"] for what `--expose` names."""
    ports: list[str] = []
    for text in specifications:
        span, _, protocol = text.partition("/")
        first, last = _exposed_range(text, span)
        ports += [f"{port}/{(protocol or 'tcp').lower()}" for port in range(first, last + 1)]
    return ports


def _exposed_range(text: str, span: str) -> tuple[int, int]:
    problem = "empty string specified for ports" if not span else ""
    first, dash, last = span.partition("-")
    for number in (first, last if dash else first):
        if not problem and not (number.isascii() and number.isdecimal()):
            problem = f'strconv.ParseUint: parsing "{number}": invalid syntax'
        if not problem and int(number) > 65535:
            problem = f'strconv.ParseUint: parsing "{number}": value out of range'
    if not problem and dash and int(last) < int(first):
        problem = f"invalid range specified for port: {span}"
    if problem:
        raise ValueError(f"invalid range format for --expose: {text}, error: {problem}")
    return int(first), int(last if dash else first)


def _long_form(text: str) -> str:
    """Rewrite `mode=host,target=80,published=8080,protocol=udp` in the short form."""
    if "=" not in text:
        return text
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    unknown = [name for name in fields if name not in ("mode", "target", "published", "protocol", "host_ip")]
    if unknown:
        raise ValueError(f"invalid field {unknown[0]}")
    host = fields.get("published", "")
    return (f"{host}:" if host else "") + f"{fields.get('target', '')}/{fields.get('protocol', 'tcp')}"


def _parts(spec: str) -> tuple[str, str, str]:
    rest, _, container = spec.rpartition(":")
    address, _, host = rest.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address:
        from minidock.cli.create_values import is_address

        if not is_address(address):
            raise ValueError(f"invalid IP address: {address}")
    return address, host, container


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal()) or not 0 <= int(first) <= int(last) <= 65535:
        raise ValueError(f"invalid {what}: {text}")
    return int(first), int(last)
