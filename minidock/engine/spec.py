"""From a container to the OCI `config.json` that runs it: Docker's default container, changed by what the
user asked.

Everything here is plain data made from plain data; what must be looked at in the image (who the user is) is
looked at through a descriptor of its root and handed in. The result is what any OCI runtime could run.
Source: OCI runtime specification, config.md and config-linux.md; moby's default spec by behaviour
(security.md section 4).
"""

import posixpath
from collections.abc import Sequence
from typing import Any

from minidock.engine import spec_mounts, spec_resources, spec_security
from minidock.engine.model import ContainerRecord, HostConfig
from minidock.engine.users import Identity

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Json = dict[str, Any]


def build(
    record: ContainerRecord, identity: Identity, directory: str, root_path: str, cgroup_path: str
) -> Json:
    """Return the config.json of `record`.

    `directory` holds the container's hosts, hostname and resolv.conf; `root_path` is where the runtime
    attaches the detached root; `cgroup_path` is below the cgroup file systems. StartFailed when a device is
    not there.
    """
    host = record.host_config
    nodes, rules = spec_resources.devices(host)
    spec: Json = {
        "ociVersion": "1.0.2",
        "process": process(record, identity),
        "root": {"path": root_path, "readonly": host.readonly_rootfs},
        "mounts": spec_mounts.entries(host, directory, record.mounts),
        "linux": {
            "namespaces": namespaces(host),
            "devices": nodes,
            "cgroupsPath": cgroup_path,
            "resources": {"devices": rules, **spec_resources.limits(host)},
            "sysctl": spec_security.sysctls(host),
            "maskedPaths": list(host.masked_paths or ()),
            "readonlyPaths": list(host.readonly_paths or ()),
        },
        "annotations": dict(host.annotations or {}),
    }
    if host.uts_mode != "host":
        spec["hostname"] = record.config.hostname
        spec["domainname"] = record.config.domainname
    return spec


def process(record: ContainerRecord, identity: Identity) -> Json:
    """Return the `process` object: the program, as whom it runs, and with which rights."""
    config, host = record.config, record.host_config
    allowed = list(spec_security.capability_set(host.cap_add or (), host.cap_drop or (), host.privileged))
    described: Json = {
        "args": [record.path, *record.args],
        "env": environment(config.hostname, config.tty, config.env or (), identity.home),
        "cwd": working_directory(config.working_dir),
        "terminal": config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.additional_gids)},
        "capabilities": {"bounding": allowed, "effective": allowed, "permitted": allowed},
        "noNewPrivileges": spec_security.parse_options(host.security_opt or ()).no_new_privileges,
        "rlimits": spec_resources.rlimits(host),
        "oomScoreAdj": host.oom_score_adj,
    }
    if config.tty and host.console_size and all(host.console_size):
        rows, columns = host.console_size
        described["consoleSize"] = {"height": rows, "width": columns}
    return described


def environment(hostname: str, tty: bool, env: Sequence[str], home: str) -> list[str]:
    """Return the program's environment in Docker's order: PATH, HOSTNAME, TERM, the image's and user's, HOME.

    A later value takes the place of an earlier one; an entry without "=" takes the variable away.
    """
    defaults = [("PATH", DEFAULT_PATH), ("HOSTNAME", hostname), *([("TERM", "xterm")] if tty else [])]
    variables = dict(defaults)
    for entry in env:
        name, separator, value = entry.partition("=")
        if separator:
            variables[name] = value
        else:
            variables.pop(name, None)
    variables.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in variables.items()]


def namespaces(host: HostConfig) -> list[Json]:
    """Return the namespaces that are the container's own; one that is not listed is shared with the host."""
    wanted = {
        "mount": True,
        "uts": host.uts_mode != "host",
        "ipc": host.ipc_mode != "host",
        "pid": host.pid_mode != "host",
        "network": host.network_mode != "host",
        "cgroup": host.cgroupns_mode == "private",
    }
    return [{"type": name} for name, own in wanted.items() if own]


def working_directory(path: str) -> str:
    """Return the normalised working directory; "" is the root."""
    return "/" + posixpath.normpath(path or "/").lstrip("/")
