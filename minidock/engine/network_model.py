"""Networks as Docker describes them: what is asked for, what is kept on disk, what inspect shows.

The fields mirror Docker's in snake_case, as in `model`. Source: Docker Engine API v1.50, definitions Network,
IPAM, NetworkCreateRequest, NetworkConnectRequest.
"""

import msgspec

from minidock.engine.model import EndpointConfig


class IpamSubnet(msgspec.Struct, kw_only=True):
    """One subnet of a network; `ip_range` limits what is handed out unasked."""

    subnet: str = ""
    ip_range: str | None = None
    gateway: str | None = None
    auxiliary_addresses: dict[str, str] | None = None


class Ipam(msgspec.Struct, kw_only=True):
    """How a network's addresses are chosen."""

    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IpamSubnet] | None = None


class ConfigReference(msgspec.Struct, kw_only=True):
    """The network whose configuration a network takes (swarm only; kept for the form of the answer)."""

    network: str = ""


class NetworkRequest(msgspec.Struct, kw_only=True):
    """The body of `docker network create`."""

    name: str = ""
    check_duplicate: bool = False
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    ipam: Ipam | None = None
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkRecord(msgspec.Struct, kw_only=True):
    """DATA-ROOT/networks/<id>.json; `bridge` is the link's name, "" for drivers without one."""

    id: str
    name: str
    created: str
    driver: str = "bridge"
    bridge: str = ""
    enable_ipv6: bool = False
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class NetworkMember(msgspec.Struct, kw_only=True):
    """One running container of a network; addresses are "address/prefix"."""

    name: str
    endpoint_id: str
    mac_address: str
    ipv4_address: str
    ipv6_address: str


class NetworkInspection(msgspec.Struct, kw_only=True):
    """`docker network inspect`; `containers` only names running ones."""

    name: str
    id: str
    created: str
    scope: str
    driver: str
    enable_ipv4: bool
    enable_ipv6: bool
    ipam: Ipam
    internal: bool
    attachable: bool
    ingress: bool
    config_from: ConfigReference
    config_only: bool
    containers: dict[str, NetworkMember]
    options: dict[str, str]
    labels: dict[str, str]


class NetworkCreated(msgspec.Struct, kw_only=True):
    """The answer to create."""

    id: str
    warning: str = ""


class ConnectRequest(msgspec.Struct, kw_only=True):
    """The body of connect and disconnect."""

    container: str = ""
    endpoint_config: EndpointConfig | None = None
    force: bool = False
