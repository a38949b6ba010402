"""What a container is made from: Docker's Config, HostConfig and networking request, in snake_case, and our
own records.

The fields mirror Docker's one to one (`CpuShares` is `cpu_shares`), so that `inspect` gives back what
`create` was given, including what this engine does not act on; `null` and "absent" are both None, as they are
one thing in Docker's Go. The same structs are the records on disk. Source: Docker Engine API v1.50,
definitions ContainerConfig, HostConfig, Resources, EndpointSettings, ContainerState.
"""

import msgspec

ZERO_TIME = "0001-01-01T00:00:00Z"
"""What Docker shows for "never": the zero time of Go, RFC 3339."""


class Healthcheck(msgspec.Struct, kw_only=True):
    """A health check as the image or the user asks for it; times are nanoseconds, 0 means "inherit"."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(msgspec.Struct, kw_only=True):
    """The portable half of a container: what an image can also say."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool | None = None
    image: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None


class LogConfig(msgspec.Struct, kw_only=True):
    """The log driver and its options; an empty type is the daemon's default, json-file."""

    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(msgspec.Struct, kw_only=True):
    """Where on the host a container's port is to be published; both may be empty."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(msgspec.Struct, kw_only=True):
    """When the daemon starts an ended container again."""

    name: str = ""
    maximum_retry_count: int = 0


class BindOptions(msgspec.Struct, kw_only=True):
    """Options of a mount of type bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, kw_only=True):
    """The volume driver of a mount of type volume."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(msgspec.Struct, kw_only=True):
    """Options of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(msgspec.Struct, kw_only=True):
    """Options of a mount of type image."""

    subpath: str = ""


class TmpfsOptions(msgspec.Struct, kw_only=True):
    """Options of a mount of type tmpfs; `mode` is a number of permission bits."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(msgspec.Struct, kw_only=True):
    """One `--mount`."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class WeightDevice(msgspec.Struct, kw_only=True):
    """A block device and its share of I/O time (10 to 1000)."""

    path: str = ""
    weight: int = 0


class ThrottleDevice(msgspec.Struct, kw_only=True):
    """A block device and its limit in bytes or operations per second."""

    path: str = ""
    rate: int = 0


class DeviceMapping(msgspec.Struct, kw_only=True):
    """One `--device`."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(msgspec.Struct, kw_only=True):
    """One `--gpus`: served by no driver here, kept so that it can be refused by name."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(msgspec.Struct, kw_only=True):
    """One `--ulimit`; -1 is "unlimited"."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class HostConfig(msgspec.Struct, kw_only=True):
    """The half of a container that belongs to this host. Sizes are bytes, CPU times microseconds."""

    binds: list[str] | None = None
    container_id_file: str = ""
    log_config: LogConfig = msgspec.field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = msgspec.field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    mounts: list[Mount] | None = None
    console_size: list[int] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str | None = None
    isolation: str = ""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    # Resources
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class EndpointIPAMConfig(msgspec.Struct, kw_only=True):
    """Addresses that the user wants for an endpoint."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] | None = None


class EndpointConfig(msgspec.Struct, kw_only=True):
    """One container in one network: the first fields are the request, the rest what came of it."""

    ipam_config: EndpointIPAMConfig | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] | None = None


class NetworkingConfig(msgspec.Struct, kw_only=True):
    """The networks a container is to join, by name."""

    endpoints_config: dict[str, EndpointConfig | None] | None = None


class MountPoint(msgspec.Struct, kw_only=True):
    """One mount of a container, as create settled it from `-v`, `--mount`, `--tmpfs`, `--volumes-from` and
    the image.

    `source` is a bind's path on the host, `name` a volume's; `anonymous`: nobody named it, so `rm -v` takes
    it along. `options` are a tmpfs'. `copies`: an empty volume first gets what the image has at
    `destination`.
    """

    type: str
    destination: str
    source: str = ""
    name: str = ""
    anonymous: bool = False
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    recursive: bool = True
    recursive_read_only: bool = True
    makes_source: bool = False
    copies: bool = True
    subpath: str = ""
    options: list[str] = msgspec.field(default_factory=list)


class ContainerRecord(msgspec.Struct, kw_only=True):
    """`config.json`: what create decided; only `rename` and `update` ever change it."""

    id: str
    name: str
    created: str
    image: str
    image_name: str
    layers: list[str]
    path: str
    args: list[str]
    config: ContainerConfig
    host_config: HostConfig
    networking: NetworkingConfig
    mounts: list[MountPoint] = msgspec.field(default_factory=list)
    platform: str = "linux"
    warnings: list[str] = msgspec.field(default_factory=list)


class Endpoint(msgspec.Struct, kw_only=True):
    """One running container in one network: `link` is the host's end, `interface` the container's."""

    network_id: str
    endpoint_id: str
    link: str
    interface: str
    mac_address: str
    ip_address: str = ""
    ip_prefix_len: int = 0
    gateway: str = ""
    ipv6_address: str = ""
    ipv6_prefix_len: int = 0
    ipv6_gateway: str = ""


class RunState(msgspec.Struct, kw_only=True):
    """`state.json`: where the container is in its life, and which processes are its own.

    A process is known by (boot_id, pid, start_time): a pid alone is used again. `launching` stands while a
    shim is being made. Times are RFC 3339 with nanoseconds.
    """

    status: str = "created"
    pid: int = 0
    start_time: int = 0
    boot_id: str = ""
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    restart_count: int = 0
    has_been_started: bool = False
    stopped_by_user: bool = False
    endpoints: dict[str, Endpoint] = msgspec.field(default_factory=dict)
    ports: dict[str, list[PortBinding]] = msgspec.field(default_factory=dict)
