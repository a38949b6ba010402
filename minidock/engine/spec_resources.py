"""What a container may use: devices and their rules, memory, CPU, processes, ulimits, as OCI
`linux.resources`.

HostConfig says 0 where it means "not set", the specification leaves the member out. Paths of devices belong
to the host and are looked up at the start, not at create: they may appear in between. Source: security.md
4.3, moby's daemon/oci_linux.go by behaviour, Documentation/admin-guide/cgroup-v1/devices.rst.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from minidock.engine.model import HostConfig
from minidock.errors import InvalidParameter, StartFailed

CPU_PERIOD = 100_000  # microseconds: what --cpus is a share of

RLIMITS = frozenset(
    [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)

_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
_DEFAULT_RULES = (
    ("c", 1, 3), ("c", 1, 5), ("c", 1, 8), ("c", 1, 9),  # null, zero, random, urandom
    ("c", 5, 0), ("c", 5, 1),  # tty, console
    ("c", 1, 7), ("c", 136, None), ("c", 5, 2), ("c", 10, 200),  # full, pts/*, ptmx, net/tun
)  # fmt: skip
_NOT_FOR_PRIVILEGED = frozenset(
    {"pts", "shm", "fd", "mqueue", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty"}
)

Json = dict[str, Any]


def devices(host: HostConfig) -> tuple[list[Json], list[Json]]:
    """Return the device nodes beyond the usual ones, and the rules of the device cgroup.

    StartFailed in Docker's words when a device of the host is not there.
    """
    if host.privileged:
        return list(_host_devices("/dev")), [{"allow": True, "access": "rwm"}]
    nodes: list[Json] = []
    rules: list[Json] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    rules += [_rule(kind, major, minor, "rwm") for kind, major, minor in _DEFAULT_RULES]
    for wanted in host.devices or ():
        permissions = wanted.cgroup_permissions or "rwm"
        for node in _named_devices(wanted.path_on_host, wanted.path_in_container or wanted.path_on_host):
            nodes.append(node)
            rules.append(_rule(node["type"], node["major"], node["minor"], permissions))
    return nodes, rules + [parse_rule(text) for text in host.device_cgroup_rules or ()]


def parse_rule(text: str) -> Json:
    """Understand `--device-cgroup-rule`, e.g. "c 42:* rmw"."""
    match = _RULE.fullmatch(text)
    if not match:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    numbers = [None if number == "*" else int(number) for number in match.group(2, 3)]
    if match[1] == "a" and (numbers != [None, None] or set(match[4]) != set("rwm")):
        raise InvalidParameter(
            f"invalid device cgroup rule format: '{text}' (type a is for all devices: 'a *:* rwm')"
        )
    return _rule(match[1], numbers[0], numbers[1], match[4])


def limits(host: HostConfig) -> Json:
    """Return `memory`, `cpu`, `pids` and `blockIO` of linux.resources, with only what is set."""
    quota, period = host.cpu_quota, host.cpu_period
    if host.nano_cpus:
        quota, period = host.nano_cpus * CPU_PERIOD // 1_000_000_000, CPU_PERIOD
    swappiness = host.memory_swappiness
    wanted: dict[str, Json] = {
        "memory": {
            "limit": host.memory,
            "reservation": host.memory_reservation,
            "swap": host.memory_swap,
            "swappiness": swappiness if swappiness is not None and swappiness >= 0 else None,
            "disableOOMKiller": host.oom_kill_disable or None,
        },
        "cpu": {
            "shares": host.cpu_shares, "quota": quota, "period": period,
            "cpus": host.cpuset_cpus, "mems": host.cpuset_mems,
        },
        "pids": {"limit": host.pids_limit if (host.pids_limit or 0) > 0 else 0},
        "blockIO": {"weight": host.blkio_weight},
    }  # fmt: skip
    return {name: kept for name, group in wanted.items() if (kept := _without_unset(group))}


def rlimits(host: HostConfig) -> list[Json]:
    """Return `process.rlimits` for `--ulimit`."""
    return [
        {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft, "hard": limit.hard}
        for limit in host.ulimits or ()
    ]


def _without_unset(group: Json) -> Json:
    return {
        key: value
        for key, value in group.items()
        if value not in (0, "", None) or (key == "swappiness" and value == 0)
    }


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> Json:
    rule: Json = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def _named_devices(source: str, target: str) -> Iterator[Json]:
    """Yield the node of the device `source`, or of each device below the directory `source`."""
    resolved = os.path.realpath(source)
    try:
        facts = os.stat(resolved)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        message = f'error gathering device information while adding custom device "{source}": {reason}'
        raise StartFailed(message) from error
    if stat.S_ISDIR(facts.st_mode):
        yield from (
            dict(node, path=target + node["path"][len(resolved) :]) for node in _host_devices(resolved)
        )
        return
    node = _node(target, facts)
    if node is None:
        raise StartFailed(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    yield node


def _host_devices(directory: str) -> Iterator[Json]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if directory == "/dev" and entry.name in _NOT_FOR_PRIVILEGED:
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(facts.st_mode):
            yield from _host_devices(entry.path)
        elif node := _node(entry.path, facts):
            yield node


def _node(path: str, facts: os.stat_result) -> Json | None:
    kind = "c" if stat.S_ISCHR(facts.st_mode) else "b" if stat.S_ISBLK(facts.st_mode) else ""
    if not kind:
        return None
    major, minor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    mode = stat.S_IMODE(facts.st_mode)
    numbers = {"type": kind, "major": major, "minor": minor}
    return {"path": path, **numbers, "fileMode": mode, "uid": facts.st_uid, "gid": facts.st_gid}
