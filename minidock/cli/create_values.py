"""Conversions of `run`'s own flags; each raises ValueError with the sentence that docker prints."""

from __future__ import annotations

import os

from minidock.cli.values import byte_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Convert = Callable[[str], Any]

ULIMITS = frozenset(
    {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"}
    | {"rtprio", "rttime", "sigpending", "stack"}
)
SYSCTLS = [
    f"kernel.{name}"
    for name in ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
]
SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
_DOMAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
MOUNT_PREFIXES = {"bind": "bind-", "volume": "volume-", "tmpfs": "tmpfs-", "image": "image-"}


def stream_name(text: str) -> str:
    """Accept stdin, stdout and stderr."""
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def pair(text: str) -> tuple[str, str]:
    """Split `name=value`; the value may be missing."""
    name, _, value = text.partition("=")
    return name, value


def variable(text: str) -> str:
    """Complete `NAME` from our own environment; it stays bare when it is not set there."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    return text if equals or name not in os.environ else f"{name}={os.environ[name]}"


def label(text: str) -> str:
    """Accept `name=value` or a bare name."""
    name = text.partition("=")[0].lstrip(" \t")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if any(blank in name for blank in " \t"):
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


def link(text: str) -> str:
    """Accept `NAME` or `NAME:ALIAS`."""
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def domain(text: str) -> str:
    """Accept a domain to search in, or a single dot for none."""
    name = text.strip(" ")
    if name == ".":
        return name
    labels = name.removesuffix(".").split(".")
    good = all(each and each[0] != "-" != each[-1] and set(each) <= _DOMAIN for each in labels)
    if not good or not any(character.isalpha() for character in name) or len(name) > 254:
        raise ValueError(f"{name} is not a valid domain")
    return name.removesuffix(".")


def has_source(text: str) -> bool:
    """Return whether `-v` names a source: without one it is an anonymous volume.

    A single letter before a colon is a drive of Windows, for docker here too: `a:/b` is one path.
    """
    if len(text) <= 2:
        if not text:
            raise ValueError("invalid empty volume spec")
        return False
    rest = text[2:] if text[0].isalpha() and text[1] == ":" else text
    source, *more = rest.split(":")
    if more and len(more[0]) == 1 and more[0].isalpha() and len(more) > 1:
        more[:2] = [":".join(more[:2])]
    if not source or not all(more):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(more) > 2:
        raise ValueError(f"invalid spec: {text}: too many colons")
    return bool(more)


def extra_host(text: str) -> str:
    """Return `name:address` for `name:address` or `name=address`, the address possibly in brackets."""
    positions = [text.find(mark) for mark in "=:" if text.find(mark) > 0]
    if not positions:
        raise ValueError(f'bad format for add-host: "{text}"')
    cut = text.find("=") if text.find("=") > 0 else min(positions)
    name, address = text[:cut], text[cut + 1 :]
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def is_address(text: str) -> bool:
    """Return whether `text` is an IPv4 or IPv6 address."""
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def ip_address(text: str) -> str:
    """Accept an IP address."""
    if not is_address(text):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text


def ulimit(text: str) -> dict[str, Any]:
    """Convert `nofile=1024:2048`; one number is both limits, -1 is no limit."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    first, _, second = limits.partition(":")
    numbers = []
    for number in (first, second or first):
        try:
            numbers.append(int(number))
        except ValueError:
            raise ValueError(f'strconv.ParseInt: parsing "{number}": invalid syntax') from None
    soft, hard = numbers
    if hard != -1 and (soft == -1 or soft > hard):
        pair_of = f"soft: -1 (unlimited), hard: {hard}" if soft == -1 else f"{soft} > {hard}"
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {pair_of}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def sysctl(text: str) -> tuple[str, str]:
    """Accept the settings that belong to a namespace."""
    name, equals, value = text.partition("=")
    if not equals or (name not in SYSCTLS and not name.startswith(SYSCTL_PREFIXES)):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return name, value


def device_rule(text: str) -> str:
    """Accept a line as the devices cgroup has them: `c 1:3 rwm`."""
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, colon, minor = numbers.partition(":")
    valid = kind in ("a", "b", "c") and colon and access and set(access) <= set("rwm")
    if not valid or not all(number == "*" or number.isdecimal() for number in (major, minor)):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def device_weight(text: str) -> dict[str, Any]:
    """Convert `/dev/sda:500`."""
    path, weight = _of_device(text)
    if not weight.isdecimal() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def _of_device(text: str) -> tuple[str, str]:
    path, colon, rest = text.partition(":")
    if not path or not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, rest


def device_rate(convert: Convert) -> Convert:
    """Return the conversion of `/dev/sda:RATE`, where `convert` reads the rate."""

    def rate(text: str) -> dict[str, Any]:
        path, number = _of_device(text)
        try:
            value = convert(number)
        except ValueError:
            value = -1
        if value < 0:
            raise ValueError(
                f"invalid rate for device: {text}. The correct format is <device-path>:<number>"
                + (
                    "[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
                    if convert is byte_size
                    else ". Number must be a positive integer"
                )
            )
        return {"Path": path, "Rate": value}

    return rate


def mount(text: str) -> dict[str, Any]:
    """Convert `type=bind,source=/a,target=/b,readonly` to the API's Mount."""
    result: dict[str, Any] = {"Type": "volume"}
    options: list[tuple[str, str]] = []
    if not text:
        raise ValueError("EOF")
    for field in text.split(","):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key == "type":
            result["Type"] = value.lower()
        elif key in ("source", "src"):
            result["Source"] = _absolute(value)
        elif key in ("target", "dst", "destination"):
            result["Target"] = value
        elif key in ("readonly", "ro"):
            result["ReadOnly"] = not equals or _truth(key, value)
        elif key == "consistency":
            result["Consistency"] = value.lower()
        elif key.startswith(tuple(MOUNT_PREFIXES.values())):
            options.append((key, value if equals else "true"))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not result.get("Target"):
        raise ValueError("target is required")
    for key, value in options:
        prefix = key.partition("-")[0] + "-"
        if prefix != MOUNT_PREFIXES.get(result["Type"]):
            raise ValueError(f"cannot mix '{prefix}*' options with mount type '{result['Type']}'")
        _mount_option(result, key, value)
    bind = result.get("BindOptions", {})
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' "
            "to be specified in conjunction"
        )
    return result


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path.startswith(("./", "../")) or path in (".", "..") else path


def _truth(key: str, value: str) -> bool:
    if value in ("1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def _number(key: str, value: str, convert: Convert) -> Any:
    try:
        return convert(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _mount_option(result: dict[str, Any], key: str, value: str) -> None:
    """Put one `bind-*`, `volume-*`, `tmpfs-*` or `image-*` option where the API wants it."""
    name, _, setting = value.partition("=")
    bind: dict[str, Any] = result.setdefault("BindOptions", {}) if key.startswith("bind-") else {}
    volume: dict[str, Any] = result.setdefault("VolumeOptions", {}) if key.startswith("volume-") else {}
    if key == "bind-propagation":
        bind["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        bind["NonRecursive"] = _truth(key, value)
    elif key == "bind-recursive":
        chosen = {
            "enabled": {},
            "disabled": {"NonRecursive": True},
            "writable": {"ReadOnlyNonRecursive": True},
            "readonly": {"ReadOnlyForceRecursive": True},
        }
        if value not in chosen:
            raise ValueError(
                f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )
        bind.update(chosen[value])
    elif key == "volume-nocopy":
        volume["NoCopy"] = _truth(key, value)
    elif key == "volume-subpath":
        volume["Subpath"] = value
    elif key == "volume-label":
        volume.setdefault("Labels", {})[name] = setting
    elif key == "volume-driver":
        volume.setdefault("DriverConfig", {})["Name"] = value
    elif key == "volume-opt":
        volume.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = setting
    elif key == "tmpfs-size":
        result.setdefault("TmpfsOptions", {})["SizeBytes"] = _number(key, value, byte_size)
    elif key == "tmpfs-mode":
        result.setdefault("TmpfsOptions", {})["Mode"] = _number(key, value, lambda mode: int(mode, 8))
    elif key == "image-subpath":
        result.setdefault("ImageOptions", {})["Subpath"] = value
    else:
        raise ValueError(f"unexpected key '{key}' in '{key}={value}'")
