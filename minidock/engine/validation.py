"""Whether a request for a container makes sense, in Docker's words, before anything exists.

Three answers and never silence: InvalidParameter for what is wrong, Unsupported for what Docker has and this
engine has not, and warnings for what is kept but has no effect. The limits and sentences are Docker's.
Source: Docker Engine API v1.50.
"""

import re
from collections.abc import Iterator

from minidock.engine import (
    etc_files,
    log_drivers,
    mounts,
    network_validation,
    signals,
    spec_resources,
    spec_security,
)
from minidock.engine.host import Host
from minidock.engine.model import ContainerConfig, Healthcheck, HostConfig, NetworkingConfig
from minidock.errors import InvalidParameter, Unsupported

MINIMUM_MEMORY = 6 * 1024 * 1024
MODES = {
    "--pid": "PID",
    "--ipc": "IPC",
    "--uts": "UTS",
    "--userns": "user namespace",
    "--cgroupns": "cgroup namespace",
}
# Names by which clients ask for the one runtime that there is; minidock-runc has runc's command line.
RUNTIMES = ("minidock", "runc", "io.containerd.runc.v2")
SHAREABLE = ("--pid", "--ipc")  # a running container can share these namespaces with another
_HOSTNAME = re.compile(r"[^\s\x00-\x1f\x7f/]{0,64}")


def check(
    config: ContainerConfig, host: HostConfig, networking: NetworkingConfig, machine: Host
) -> list[str]:
    """Raise for a request that cannot be served; return the warnings for one that can."""
    _check_config(config)
    _check_modes(config, host, networking)
    _check_resources(host, machine)
    log_drivers.options(host)
    _check_health(config.healthcheck)
    _check_restart_policy(host)
    spec_security.parse_options(host.security_opt or ())
    spec_security.capability_set(host.cap_add or (), host.cap_drop or (), host.privileged)
    spec_security.sysctls(host)
    for entry in host.extra_hosts or ():
        etc_files.split_extra_host(entry)
    mounts.requested(host)
    return list(_warnings(config, host, machine))


def check_update(host: HostConfig, machine: Host) -> list[str]:
    """Raise for limits or a restart policy that a container cannot have; return the warnings."""
    _check_resources(host, machine)
    _check_restart_policy(host)
    return []


def _check_config(config: ContainerConfig) -> None:
    for entry in config.env or ():
        if not entry or entry.startswith("="):
            raise InvalidParameter(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidParameter("invalid environment variable: it contains a NUL byte")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    for name in (config.hostname, config.domainname):
        if not _HOSTNAME.fullmatch(name):
            raise InvalidParameter(f"invalid hostname: {name!r}")
    if config.stop_signal:
        signals.number(config.stop_signal)
    for volume in config.volumes or ():
        mounts.declared(volume)
    for port in config.exposed_ports or ():
        if not re.fullmatch(r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?", port):
            raise InvalidParameter(f"invalid port specification: {port!r}")


def _check_health(check: Healthcheck | None) -> None:
    """Refuse times below a millisecond: they are nanoseconds, and somebody has meant seconds."""
    if check is None:
        return
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value and value < 1_000_000:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")


def _check_modes(config: ContainerConfig, host: HostConfig, networking: NetworkingConfig) -> None:
    """Refuse namespaces that are not there yet, and what cannot be said of a network."""
    network_validation.check(config, host, networking)
    for option, value, served in (
        ("--pid", host.pid_mode, ("", "host")),
        ("--ipc", host.ipc_mode, ("", "private", "shareable", "host", "none")),
        ("--uts", host.uts_mode, ("", "host")),
        ("--userns", host.userns_mode, ("", "host")),
        ("--cgroupns", host.cgroupns_mode, ("", "private", "host")),
    ):
        if option in SHAREABLE and value.startswith("container:"):
            if value == "container:":
                raise InvalidParameter(f"invalid container format container:<name|id> for {option}")
        elif value not in served:
            raise InvalidParameter(f"invalid {MODES[option]} mode: {value}")
    if host.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if host.isolation not in ("", "default"):
        raise InvalidParameter(f"invalid isolation '{host.isolation}' on linux")
    if host.runtime and host.runtime not in RUNTIMES:
        raise InvalidParameter(f"unknown or invalid runtime name: {host.runtime}")
    if host.cgroup_parent and not re.fullmatch(r"/?[\w.@:-]+(/[\w.@:-]+)*", host.cgroup_parent):
        raise InvalidParameter(f"invalid cgroup parent: {host.cgroup_parent!r}")
    if ".." in host.cgroup_parent.split("/") or "." in host.cgroup_parent.split("/"):
        raise InvalidParameter(f"invalid cgroup parent: {host.cgroup_parent!r}")
    for option, given in (("--storage-opt", host.storage_opt),):
        if given:
            raise Unsupported(f"{option} is not supported yet")


def _check_resources(host: HostConfig, machine: Host) -> None:
    _check_memory(host)
    _check_cpu(host, machine)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    for limit in host.ulimits or ():
        if limit.name not in spec_resources.RLIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
    for text in host.device_cgroup_rules or ():
        spec_resources.parse_rule(text)
    for device in host.devices or ():
        if set(device.cgroup_permissions) - set("rwm"):
            raise InvalidParameter(f"invalid device mode: {device.cgroup_permissions}")
    for request in host.device_requests or ():
        wanted = " ".join(f"[{' '.join(group)}]" for group in request.capabilities or ())
        raise Unsupported(f'could not select device driver "{request.driver}" with capabilities: [{wanted}]')
    for option, given in (
        ("--blkio-weight-device", host.blkio_weight_device),
        ("--device-read-bps", host.blkio_device_read_bps),
        ("--device-write-bps", host.blkio_device_write_bps),
        ("--device-read-iops", host.blkio_device_read_iops),
        ("--device-write-iops", host.blkio_device_write_iops),
        ("--cpu-rt-period", host.cpu_realtime_period),
        ("--cpu-rt-runtime", host.cpu_realtime_runtime),
        ("--kernel-memory-tcp", host.kernel_memory_tcp),
        ("--cpu-count", host.cpu_count),
        ("--cpu-percent", host.cpu_percent),
        ("--io-maxiops", host.io_maximum_iops),
        ("--io-maxbandwidth", host.io_maximum_bandwidth),
    ):
        if given:
            raise Unsupported(f"{option} is not supported")


def _check_memory(host: HostConfig) -> None:
    memory, swap, reservation, swappiness = (
        host.memory, host.memory_swap, host.memory_reservation, host.memory_swappiness,
    )  # fmt: skip
    if memory and memory < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if swap < -1:
        raise InvalidParameter(f"invalid memory swap limit: {swap}")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if reservation and reservation < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def _check_cpu(host: HostConfig, machine: Host) -> None:
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        other = "Period" if host.cpu_period else "Quota"
        raise InvalidParameter(f"Conflicting options: Nano CPUs and CPU {other} cannot both be set")
    if not 0 <= host.nano_cpus <= machine.cpus * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {machine.cpus}.00, "
            f"as there are only {machine.cpus} CPUs available"
        )
    if host.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if _numbers(host.cpuset_mems, "cpuset mems") - _numbers(machine.memory_nodes, "memory nodes"):
        raise InvalidParameter(
            f"Requested memory nodes are not available - requested {host.cpuset_mems}, "
            f"available: {machine.memory_nodes}"
        )
    if _numbers(host.cpuset_cpus, "cpuset cpus") - set(range(machine.cpus)):
        raise InvalidParameter(
            f"Requested CPUs are not available - requested {host.cpuset_cpus}, "
            f"available: 0-{machine.cpus - 1}"
        )


def _numbers(text: str, what: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if not match:
            raise InvalidParameter(f"Invalid value {text} for {what}")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def _check_restart_policy(host: HostConfig) -> None:
    policy = host.restart_policy
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidParameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")


def _warnings(config: ContainerConfig, host: HostConfig, machine: Host) -> Iterator[str]:
    """Yield a sentence for each thing that is kept for inspect and not acted on."""
    if host.network_mode == "host" and host.port_bindings:
        yield "Published ports are discarded when using host network mode"
    if host.memory_swappiness not in (None, -1) and not machine.cgroups.knows("swappiness"):
        yield (
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
            "Memory swappiness discarded."
        )
    if host.oom_kill_disable and not machine.cgroups.knows("oom_kill_disable"):
        yield "Your kernel does not support OomKillDisable. OomKillDisable discarded."
    elif host.oom_kill_disable and not host.memory:
        yield (
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    if host.kernel_memory:
        yield "Specifying a kernel memory limit is deprecated and has no effect."
