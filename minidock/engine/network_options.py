"""The options of networks (`--opt`) and of endpoints (`--driver-opt`): their names, and what they may say.

An option that is not here is refused: Docker's bridge driver ignores what it does not know, and its user
waits in vain. docs.docker.com, "Bridge network driver"; the names are Docker's.
"""

import re
from collections.abc import Mapping

from minidock.errors import InvalidParameter, Unsupported
from minidock.network.addresses import parse_address

_BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"
NAME, HOST_ADDRESS = _BRIDGE + "name", _BRIDGE + "host_binding_ipv4"
MASQUERADE, ICC = _BRIDGE + "enable_ip_masquerade", _BRIDGE + "enable_icc"
INHIBIT_IPV4 = _BRIDGE + "inhibit_ipv4"
GATEWAY_MODES = (_BRIDGE + "gateway_mode_ipv4", _BRIDGE + "gateway_mode_ipv6")
INTERFACE, SYSCTLS = "com.docker.network.endpoint.ifname", "com.docker.network.endpoint.sysctls"

_SWITCHES = {MASQUERADE: True, ICC: True, INHIBIT_IPV4: False}
_KNOWN = {MTU, INTERFACE_PREFIX, NAME, HOST_ADDRESS, *_SWITCHES, *GATEWAY_MODES}
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_SYSCTL = re.compile(r"net\.((?:ipv4|ipv6|mpls)\.[a-z0-9_]+)\.IFNAME\.([a-z0-9_]+)=(\S+)")

Options = Mapping[str, str]


def check(options: Options) -> None:
    """Raise Unsupported for an option of a network that is not known, InvalidParameter for a bad value."""
    for name, value in options.items():
        if name not in _KNOWN:
            raise Unsupported(f"network option {name} is not supported")
        if name in GATEWAY_MODES and value not in ("", "nat"):
            raise Unsupported(f"network option {name}={value} is not supported (nat is)")
        wrong = (
            (name in _SWITCHES and value.lower() not in _TRUE + _FALSE)
            or (name == MTU and not (value.isdecimal() and 68 <= int(value) <= 65535))
            or (name == NAME and not _LINK.fullmatch(value))
            or (name == INTERFACE_PREFIX and not (_LINK.fullmatch(value) and len(value) <= 12))
        )
        if wrong:
            raise InvalidParameter(f"invalid value for {name}: {value!r}")
        if name == HOST_ADDRESS:
            parse_address(value)


def is_on(options: Options, name: str) -> bool:
    """Whether an option that is true or false is true, as given or by default."""
    return options[name].lower() in _TRUE if name in options else _SWITCHES[name]


def check_endpoint(options: Options) -> None:
    """Raise Unsupported for an option of an endpoint that is not known, InvalidParameter for a bad value."""
    for name, value in options.items():
        if name not in (INTERFACE, SYSCTLS):
            raise Unsupported(f"endpoint option {name} is not supported")
        if name == INTERFACE and not (_LINK.fullmatch(value) and value != "lo"):
            raise InvalidParameter(f"invalid value for {name}: {value!r}")
    sysctls(options, "")


def sysctls(options: Options, interface: str) -> dict[str, str]:
    """Return the sysctls of an endpoint, as names below net/ and their values."""
    found = {}
    for text in filter(None, (part.strip() for part in options.get(SYSCTLS, "").split(","))):
        match = _SYSCTL.fullmatch(text)
        if not match:
            raise InvalidParameter(f"unrecognised network interface sysctl '{text}'")
        found[f"{match[1].replace('.', '/')}/{interface}/{match[2]}"] = match[3]
    return found
