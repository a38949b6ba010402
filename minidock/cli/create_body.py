"""From flags to the JSON of `POST /containers/create`: what docker 28 sends, without its empty fields.

What a user gets wrong is told here only where docker's CLI does; everything else is the engine's to judge.
"""

from __future__ import annotations

import os

from minidock.cli import create_network, publish, quickjson
from minidock.cli.create_values import has_source, pair
from minidock.cli.flags import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Body = dict[str, Any]

# HostConfig fields that take a flag's value as it is
HOST_FIELDS = {
    "GroupAdd": "group-add",
    "AutoRemove": "rm",
    "BlkioDeviceReadBps": "device-read-bps",
    "BlkioDeviceReadIOps": "device-read-iops",
    "BlkioDeviceWriteBps": "device-write-bps",
    "BlkioDeviceWriteIOps": "device-write-iops",
    "BlkioWeight": "blkio-weight",
    "BlkioWeightDevice": "blkio-weight-device",
    "CgroupParent": "cgroup-parent",
    "CgroupnsMode": "cgroupns",
    "CpuPeriod": "cpu-period",
    "CpuQuota": "cpu-quota",
    "CpuRealtimePeriod": "cpu-rt-period",
    "CpuRealtimeRuntime": "cpu-rt-runtime",
    "CpuShares": "cpu-shares",
    "CpusetCpus": "cpuset-cpus",
    "CpusetMems": "cpuset-mems",
    "DeviceCgroupRules": "device-cgroup-rule",
    "Dns": "dns",
    "DnsOptions": "dns-option",
    "DnsSearch": "dns-search",
    "ExtraHosts": "add-host",
    "IpcMode": "ipc",
    "Links": "link",
    "Memory": "memory",
    "MemoryReservation": "memory-reservation",
    "MemorySwap": "memory-swap",
    "Mounts": "mount",
    "NanoCpus": "cpus",
    "OomKillDisable": "oom-kill-disable",
    "OomScoreAdj": "oom-score-adj",
    "PidMode": "pid",
    "PidsLimit": "pids-limit",
    "Privileged": "privileged",
    "PublishAllPorts": "publish-all",
    "ReadonlyRootfs": "read-only",
    "Runtime": "runtime",
    "ShmSize": "shm-size",
    "UTSMode": "uts",
    "UsernsMode": "userns",
    "VolumeDriver": "volume-driver",
    "VolumesFrom": "volumes-from",
}
CONFIG_FIELDS = {
    "Domainname": "domainname",
    "Hostname": "hostname",
    "OpenStdin": "interactive",
    "StopSignal": "stop-signal",
    "Tty": "tty",
    "User": "user",
    "WorkingDir": "workdir",
}
NAMESPACE_FLAGS = {
    "cgroupns": ("CGROUP", ("host", "private")),
    "pid": ("PID", ("host", "container:")),
    "userns": ("USER", ("host",)),
    "uts": ("UTS", ("host",)),
}


def body(options: Options, attach: tuple[bool, bool, bool]) -> Body:
    """Return the request; `attach` is (stdin, stdout, stderr). Raise ValueError for a wrong flag."""
    _check(options)
    image, *command = options.arguments
    stdin, stdout, stderr = attach
    bound = publish.bindings(options["publish"])
    config: Body = {field: options[flag] for field, flag in CONFIG_FIELDS.items() if options[flag]}
    config |= {"Image": image, "AttachStdin": stdin, "AttachStdout": stdout, "AttachStderr": stderr}
    config["StdinOnce"] = stdin and options["interactive"]
    config["Env"] = [*lines_of(options["env-file"], from_environment=True), *options["env"]]
    labels = [*lines_of(options["label-file"], from_environment=False), *options["label"]]
    config["Labels"] = dict(map(pair, labels))
    if command:
        config["Cmd"] = command
    if "entrypoint" in options:
        config["Entrypoint"] = [options["entrypoint"]]
    if "stop-timeout" in options:
        config["StopTimeout"] = options["stop-timeout"]
    ports = [*bound, *publish.exposed(options["expose"])]
    config["ExposedPorts"] = {port: {} for port in ports}
    config["Volumes"] = {path: {} for path in options["volume"] if not has_source(path)}
    config["Healthcheck"] = _health(options)
    host = _host_config(options)
    host["PortBindings"] = bound
    networking = create_network.endpoints(options, host)
    result = {name: value for name, value in config.items() if value not in ({}, [], None)}
    return result | {"HostConfig": host, "NetworkingConfig": {"EndpointsConfig": networking}}


def _check(options: Options) -> None:
    for flag, (name, known) in NAMESPACE_FLAGS.items():
        mode = options[flag]
        longer = tuple(word for word in known if word.endswith(":"))
        if (mode and mode not in known and not mode.startswith(longer or "\0")) or mode in longer:
            raise ValueError(f"--{flag}: invalid {name} mode")
    swappiness = options["memory-swappiness"]
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    if options["rm"] and options["restart"] not in ("no", ""):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    if options["log-driver"] == "none" and options["log-opt"]:
        raise ValueError("invalid logging opts for driver none")
    create_network.check_mac(options["mac-address"])
    if not all("=" in text for text in options["storage-opt"]):
        raise ValueError("invalid storage option")
    if options["pull"] not in ("always", "missing", "never", ""):
        raise ValueError(
            f'invalid pull option: \'{options["pull"]}\': must be one of "always", "missing" or "never"'
        )


def _host_config(options: Options) -> Body:
    host: Body = {field: options[flag] for field, flag in HOST_FIELDS.items() if options[flag]}
    dropped = _capabilities(options["cap-drop"])
    added = [name for name in _capabilities(options["cap-add"]) if name not in dropped]
    devices, requests = _devices(options["device"])
    fields: Body = {
        "Annotations": dict(options["annotation"]),
        "Binds": [_bind(text) for text in options["volume"] if has_source(text)],
        "CapAdd": added,
        "CapDrop": dropped,
        "DeviceRequests": requests,
        "Devices": devices,
        "StorageOpt": dict(map(pair, options["storage-opt"])),
        "Sysctls": dict(options["sysctl"]),
        "Ulimits": [item for _, item in sorted({item["Name"]: item for item in options["ulimit"]}.items())],
        "Tmpfs": dict(text.partition(":")[::2] for text in options["tmpfs"]),
    }
    host |= {name: value for name, value in fields.items() if value}
    host["LogConfig"] = {"Type": options["log-driver"], "Config": dict(map(pair, options["log-opt"]))}
    host["RestartPolicy"] = restart_policy(options["restart"])
    if "init" in options:
        host["Init"] = options["init"]
    if options["memory-swappiness"] != -1:
        host["MemorySwappiness"] = options["memory-swappiness"]
    if options["cidfile"]:
        host["ContainerIDFile"] = options["cidfile"]
    _security(options["security-opt"], host)
    return host


def _capabilities(names: list[str]) -> list[str]:
    upper = {name.strip().upper() for name in names}
    return sorted(name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper)


def _devices(texts: list[str]) -> tuple[list[Body], list[Body]]:
    devices: list[Body] = []
    qualified: list[str] = []
    for text in texts:
        if "=" in text and "/" in text.partition("=")[0] and not text.startswith("/"):
            qualified.append(text)  # a CDI name: vendor.com/class=device
            continue
        source, *rest = text.split(":")
        if not source or len(rest) > 2:
            raise ValueError(f"bad format for path: {text}")
        mode = "rwm"
        if rest and (len(rest) == 2 or _is_mode(rest[-1])):
            mode = rest.pop()
        target = rest[0] if rest else source
        if not target.startswith("/"):
            raise ValueError(f"{target} is not an absolute path")
        if not _is_mode(mode):
            raise ValueError(f"bad mode specified: {mode}")
        devices.append({"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode})
    return devices, [{"Driver": "cdi", "DeviceIDs": qualified}] if qualified else []


def _is_mode(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= set("rwm")


def _bind(text: str) -> str:
    source, _, rest = text.partition(":")
    return f"{os.path.abspath(source)}:{rest}" if source.startswith(".") else text


def restart_policy(text: str) -> Body:
    name, colon, count = text.partition(":")
    if colon and not (count.removeprefix("-").isdecimal() or not count):
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _security(texts: list[str], host: Body) -> None:
    kept: list[str] = []
    for text in texts:
        name, _, value = text.partition("=" if "=" in text else ":")
        if not value and name != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{text}"')
        if name == "systempaths" and value == "unconfined":
            host["MaskedPaths"] = host["ReadonlyPaths"] = []
            continue
        kept.append(
            f"seccomp={_profile(value)}"
            if name == "seccomp" and value not in ("unconfined", "builtin")
            else text
        )
    if kept:
        host["SecurityOpt"] = kept


def _profile(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return quickjson.encode(quickjson.decode(file.read()))
    except OSError as error:
        reason = f"open {path}: {(error.strerror or '').lower()}"
        raise ValueError(f"opening seccomp profile ({path}) failed: {reason}") from None
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def _health(options: Options) -> Body | None:
    durations = {
        "Interval": "health-interval",
        "Timeout": "health-timeout",
        "StartPeriod": "health-start-period",
        "StartInterval": "health-start-interval",
    }
    given: Body = {field: options[flag] for field, flag in durations.items() if options[flag]}
    if options["health-retries"]:
        given["Retries"] = options["health-retries"]
    if options["no-healthcheck"]:
        if given or options["health-cmd"]:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for field, flag in (*durations.items(), ("Retries", "health-retries")):
        if given.get(field, 0) < 0:
            raise ValueError(f"--{flag} cannot be negative")
    if options["health-cmd"]:
        given["Test"] = ["CMD-SHELL", options["health-cmd"]]
    return given or None


def lines_of(paths: list[str], from_environment: bool) -> list[str]:
    """Return the NAME=value lines of files; a bare NAME is looked up, or else left out."""
    found: list[str] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8-sig") as file:
                lines = file.read().split("\n")
        except OSError as error:
            raise ValueError(f"open {path}: {(error.strerror or '').lower()}") from None
        for line in lines:
            text = line.rstrip("\r").lstrip()
            name, equals, _ = text.partition("=")
            if not text or text.startswith("#"):
                continue
            if not name or any(blank in name for blank in " \t"):
                problem = (
                    "no variable name on line" if not name else f"variable '{name}' contains whitespaces"
                )
                raise ValueError(f"invalid env file ({path}): {problem}")
            if equals:
                found.append(text)
            elif from_environment and name in os.environ:
                found.append(f"{name}={os.environ[name]}")
    return found
