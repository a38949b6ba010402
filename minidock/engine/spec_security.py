"""What a container may do: capabilities, seccomp profile, hidden paths, security options, kernel parameters.

The default must equal Docker's, and everything the user says changes it by name; what is not understood is
refused, since an ignored security option is worse than none. Source: security.md 4.1, 4.2, 4.6 and A15;
capabilities(7); runc's list of namespaced sysctls.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.engine.model import HostConfig
from minidock.errors import InvalidParameter, Unsupported
from minidock.kernel import capabilities

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
)  # fmt: skip

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip

_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)

BUILTIN, UNCONFINED = "builtin", "unconfined"


@dataclass(frozen=True)
class SecurityOptions:
    """What `--security-opt` says. `seccomp` is "" (not said), "builtin", "unconfined" or a profile's JSON
    text.
    """

    seccomp: str = ""
    no_new_privileges: bool = False


def parse_options(options: Sequence[str]) -> SecurityOptions:
    """Understand the list of `--security-opt`; InvalidParameter or Unsupported names the option."""
    seccomp, no_new_privileges = "", False
    for option in options:
        key, value = _split(option)
        if key == "no-new-privileges":
            no_new_privileges = _boolean(option, value)
        elif key == "seccomp":
            seccomp = value
        elif (key, value) in (("apparmor", "unconfined"), ("label", "disable")):
            continue  # what this engine does anyway
        elif key in ("apparmor", "label"):
            raise Unsupported(f"--security-opt {option}: {key} confinement is not supported")
        elif key == "writable-cgroups":
            raise Unsupported(f"--security-opt {option} is not supported")
        else:
            raise InvalidParameter(f'invalid --security-opt: "{option}"')
    return SecurityOptions(seccomp, no_new_privileges)


def seccomp_choice(host: HostConfig) -> str:
    """Return "builtin", "unconfined" or the JSON text of the profile to use. Privileged means unconfined
    unless said.
    """
    chosen = parse_options(host.security_opt or ()).seccomp
    if chosen:
        return chosen
    return UNCONFINED if host.privileged else BUILTIN


def capability_set(add: Sequence[str], drop: Sequence[str], privileged: bool) -> tuple[str, ...]:
    """Return the capabilities after `--cap-add`, `--cap-drop` and `--privileged`, in the kernel's order.

    InvalidParameter for a name the kernel does not have.
    """
    known = capabilities.NAMES[: capabilities.last_capability() + 1]
    added, dropped = _names("CapAdd", add, known), _names("CapDrop", drop, known)
    if privileged:
        wanted = set(capabilities.available())  # an engine that itself lacks some cannot give them
    elif "ALL" in added:
        wanted = set(capabilities.available()) - dropped
    elif "ALL" in dropped:
        wanted = added
    else:
        wanted = set(DEFAULT_CAPABILITIES) - dropped | added
    return tuple(name for name in known if name in wanted)


def masked_paths() -> list[str]:
    """Return the paths that Docker hides on this machine: its list, and each CPU's thermal_throttle
    (GHSA-6fw5-f8r9-fgfm).
    """
    throttles = []
    try:
        for name in sorted(os.listdir("/sys/devices/system/cpu")):
            path = f"/sys/devices/system/cpu/{name}/thermal_throttle"
            if re.fullmatch(r"cpu\d+", name) and os.path.isdir(path):
                throttles.append(path)
    except FileNotFoundError:
        pass
    return [*_MASKED_PATHS, *throttles]


def sysctls(host: HostConfig) -> dict[str, str]:
    """Return the kernel parameters to set; InvalidParameter for one that belongs to the host as well."""
    own_network = host.network_mode != "host"
    wanted = (
        {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
        if own_network
        else {}
    )
    for given, value in (host.sysctls or {}).items():
        name = given.replace("/", ".") if "." not in given.partition("/")[0] else given
        if not _is_namespaced(name, host):
            raise InvalidParameter(f'sysctl "{given}" is not in a separate kernel namespace')
        wanted[name] = value
    return wanted


def _is_namespaced(name: str, host: HostConfig) -> bool:
    """Allow exactly what lives in a namespace of the container's own (security.md A15)."""
    if not re.fullmatch(r"[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_:@-]+)+", name):
        return False
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return host.ipc_mode != "host"
    if name.startswith("net."):
        return host.network_mode != "host"
    return name == "kernel.domainname" and host.uts_mode != "host"


def _names(option: str, names: Sequence[str], known: Sequence[str]) -> set[str]:
    found = set()
    for name in names:
        upper = name.upper()
        if upper == "ALL":
            found.add("ALL")
            continue
        full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
        if full not in known:
            raise InvalidParameter(f'invalid {option}: unknown capability: "{full}"')
        found.add(full)
    return found


def _split(option: str) -> tuple[str, str]:
    """Split at the first "=", or at the first ":" as in Docker's older form."""
    separator = "=" if "=" in option else ":"
    key, _, value = option.partition(separator)
    return key, value


def _boolean(option: str, value: str) -> bool:
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise InvalidParameter(f'invalid --security-opt: "{option}"')
