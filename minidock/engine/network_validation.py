"""Whether what is asked of a network or of a container's network makes sense, in Docker's words.

Whether a network exists is asked at the start: it may be made after the container. Docker Engine API v1.50;
the sentences are moby's.
"""

import ipaddress
import re
from collections.abc import Iterator

from minidock.engine import network_options
from minidock.engine.model import ContainerConfig, EndpointConfig, HostConfig, NetworkingConfig
from minidock.engine.network_model import Ipam, IpamSubnet
from minidock.errors import InvalidParameter, NotFound, Unsupported
from minidock.network.addresses import Subnet, parse_address, parse_subnet

NOT_USER_DEFINED = frozenset({"", "default", "bridge", "host", "none"})
SHARED = (
    "container sharing network namespace with another container or host cannot be connected to any other "
    "network"
)
NO_NETWORK = (
    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
)
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_PORT = re.compile(r"(\d{1,5})(-\d{1,5})?(/(tcp|udp|sctp))?")


def check(config: ContainerConfig, host: HostConfig, networking: NetworkingConfig) -> None:
    """Raise InvalidParameter for modes, endpoints and ports that cannot be."""
    mode = host.network_mode
    if mode.startswith("container:"):
        if mode == "container:":
            raise InvalidParameter("invalid container format container:<name|id>")
        _check_shared(config, host)
    elif not re.fullmatch(r"[\w][\w .:@+-]*", mode or "default"):
        raise InvalidParameter(f"invalid network mode: {mode!r}")
    if mode == "host" and host.links:
        raise InvalidParameter(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    if config.mac_address and not _MAC.fullmatch(config.mac_address):
        raise InvalidParameter(f"invalid MAC address: {config.mac_address}")
    _check_alone(mode, networking)
    for name, endpoint in (networking.endpoints_config or {}).items():
        if endpoint is not None:
            check_endpoint(name, endpoint)
    for port, bindings in (host.port_bindings or {}).items():
        if not _PORT.fullmatch(port):
            raise InvalidParameter(f"invalid port specification: {port!r}")
        for binding in bindings or ():
            _check_binding(binding.host_ip, binding.host_port)


def _check_alone(mode: str, networking: NetworkingConfig) -> None:
    """Raise InvalidParameter when a mode that has no network of its own stands beside a network."""
    others = {name for name in networking.endpoints_config or {} if name != mode}
    both = others | {mode}
    if others and (mode.startswith("container:") or "host" in both):
        raise InvalidParameter(SHARED)
    if others and "none" in both:
        raise InvalidParameter(NO_NETWORK)


def check_endpoint(network: str, endpoint: EndpointConfig) -> None:
    """Raise for an endpoint's addresses and names that cannot be, or not in this network."""
    asked = endpoint.ipam_config
    addresses = [] if asked is None else [asked.ipv4_address, asked.ipv6_address]
    for text, version in zip(addresses, (4, 6), strict=False):
        if text and parse_address(text).version != version:
            raise InvalidParameter(f"invalid IPv{version} address: {text}")
    if asked is not None and asked.link_local_ips:
        raise InvalidParameter(f"link-local addresses are not supported: {', '.join(asked.link_local_ips)}")
    network_options.check_endpoint(endpoint.driver_opts or {})
    if network in NOT_USER_DEFINED:
        if any(addresses):
            raise InvalidParameter(
                "invalid config for network {}: invalid endpoint settings:\n"
                "user specified IP address is supported on user defined networks only".format(
                    "bridge" if network in ("", "default") else network
                )
            )
        if endpoint.aliases:
            raise InvalidParameter(
                "invalid config for network {}: invalid endpoint settings:\n"
                "network-scoped alias is supported only for containers in user defined networks".format(
                    "bridge" if network in ("", "default") else network
                )
            )
    if endpoint.mac_address and not _MAC.fullmatch(endpoint.mac_address):
        raise InvalidParameter(f"invalid MAC address: {endpoint.mac_address}")


def check_ipam(ipam: Ipam) -> None:
    """Raise for subnets, ranges and addresses of a new network that cannot be; all of them are named."""
    if ipam.driver not in ("", "default"):
        raise NotFound(f"could not find IPAM driver {ipam.driver}")
    if ipam.options:
        raise Unsupported(f"IPAM options are not supported: {', '.join(ipam.options)}")
    parts = ipam.config or []
    wrong = [fault for part in parts for fault in _faults(part)]
    if wrong:
        listed = wrong[0] if len(wrong) == 1 else "* " + "\n* ".join(wrong)
        raise InvalidParameter(f"invalid network config:\n{listed}")
    for version in (4, 6):
        if sum(parse_subnet(part.subnet).version == version for part in parts if part.subnet) > 1:
            raise Unsupported(f"more than one IPv{version} subnet in a network is not supported")


def _faults(part: IpamSubnet) -> Iterator[str]:
    """Yield what is wrong with one subnet of a network."""
    if not part.subnet:
        if part.gateway or part.ip_range or part.auxiliary_addresses:
            yield "invalid subnet : invalid CIDR block notation"
        return
    try:
        subnet = parse_subnet(part.subnet)
    except InvalidParameter as error:
        yield str(error)
        return
    if subnet.num_addresses < 4:
        yield f"invalid subnet {subnet}: it is too small for a gateway and a container"
    if part.ip_range:
        yield from _range_faults(part.ip_range, subnet)
    for name, text in (("gateway", part.gateway or ""), *(part.auxiliary_addresses or {}).items()):
        what = f"gateway {text}" if name == "gateway" else f"auxiliary address {name}"
        try:
            address = parse_address(text) if text else subnet.network_address
        except InvalidParameter:
            yield f"invalid {what}: invalid address"
            continue
        if address.version != subnet.version:
            yield f"invalid {what}: parent subnet is an IPv{subnet.version} block"
        elif address not in subnet:
            yield f"invalid {what}: parent subnet {subnet} doesn't contain this address"


def _range_faults(text: str, subnet: Subnet) -> Iterator[str]:
    wrong = f"invalid ip-range {text}:"
    try:
        inner = ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield f"{wrong} invalid CIDR block notation"
        return
    if inner.version != subnet.version:
        yield f"{wrong} parent subnet is an IPv{subnet.version} block"
        return
    if inner.prefixlen < subnet.prefixlen:
        yield f"{wrong} CIDR block is bigger than its parent subnet {subnet}"
    if str(inner) != text:
        yield f"{wrong} it should be {inner}"
    if not inner.overlaps(subnet):
        yield f"{wrong} parent subnet {subnet} doesn't contain ip-range"


def _check_shared(config: ContainerConfig, host: HostConfig) -> None:
    for given, what in (
        (config.hostname, "hostname and the network mode"),
        (
            host.links,
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (config.mac_address, "mac-address and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidParameter(f"conflicting options: {what}")


def _check_binding(address: str, ports: str) -> None:
    if address:
        parse_address(address)
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", ports) if ports else None
    if ports and (not match or not int(match[1]) <= int(match[2] or match[1]) <= 65535):
        raise InvalidParameter(f"invalid port specification: {ports!r}")
