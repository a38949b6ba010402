"""What the engine answers: inspect, ps, images, events and info as plain data.

The API writes these as Docker's JSON; a name here is Docker's in snake_case, so that one conversion serves
all of them. Source: Docker Engine API v1.50, definitions ContainerInspectResponse, ContainerSummary,
ImageInspect, SystemInfo, EventMessage.
"""

import msgspec

from minidock.engine.model import ZERO_TIME, ContainerConfig, EndpointConfig, HostConfig, PortBinding


class HealthResult(msgspec.Struct, kw_only=True):
    """One run of a health check."""

    start: str
    end: str
    exit_code: int
    output: str


class HealthState(msgspec.Struct, kw_only=True):
    """What the health check has found so far."""

    status: str
    failing_streak: int
    log: list[HealthResult]


class State(msgspec.Struct, kw_only=True):
    """A container's state as inspect shows it."""

    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    health: HealthState | None = None


class MountPoint(msgspec.Struct, kw_only=True, omit_defaults=False):
    """One mount of a container as inspect shows it; `name` and `driver` are a volume's."""

    type: str
    name: str | None = None
    source: str
    destination: str
    driver: str | None = None
    mode: str
    rw: bool
    propagation: str


class NetworkSettings(msgspec.Struct, kw_only=True):
    """The networks a container is in, and (in the older fields) its address in the default bridge."""

    bridge: str = ""
    sandbox_id: str = ""
    sandbox_key: str = ""
    ports: dict[str, list[PortBinding] | None] = msgspec.field(default_factory=dict)
    hairpin_mode: bool = False
    link_local_ipv6_address: str = ""
    link_local_ipv6_prefix_len: int = 0
    secondary_ip_addresses: list[str] | None = None
    secondary_ipv6_addresses: list[str] | None = None
    endpoint_id: str = ""
    gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    mac_address: str = ""
    networks: dict[str, EndpointConfig] = msgspec.field(default_factory=dict)


class Change(msgspec.Struct, kw_only=True):
    """One line of `docker diff`; `kind` is 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


class VolumeUsage(msgspec.Struct, kw_only=True):
    """What a volume costs: bytes of its files, and how many containers name it."""

    size: int
    ref_count: int


class VolumeView(msgspec.Struct, kw_only=True):
    """One volume; `usage_data` only where it was asked for."""

    created_at: str
    driver: str = "local"
    labels: dict[str, str] | None
    mountpoint: str
    name: str
    options: dict[str, str] | None
    scope: str = "local"
    usage_data: VolumeUsage | None = None


class VolumeList(msgspec.Struct, kw_only=True):
    """`docker volume ls`."""

    volumes: list[VolumeView]
    warnings: list[str] | None = None


class VolumesPruned(msgspec.Struct, kw_only=True):
    """`docker volume prune`: the names of the removed, and the bytes that it gave back."""

    volumes_deleted: list[str]
    space_reclaimed: int


class DriverData(msgspec.Struct, kw_only=True):
    """The storage driver's own words about an image or a container; keys of `data` are Docker's, verbatim."""

    name: str
    data: dict[str, str] | None


class ContainerInspection(msgspec.Struct, kw_only=True):
    """`docker inspect CONTAINER`; the sizes are None unless asked for."""

    id: str
    created: str
    path: str
    args: list[str]
    state: State
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str
    platform: str
    mount_label: str
    process_label: str
    app_armor_profile: str
    exec_ids: list[str] | None
    host_config: HostConfig
    graph_driver: DriverData
    size_rw: int | None
    size_root_fs: int | None
    mounts: list[MountPoint]
    config: ContainerConfig
    network_settings: NetworkSettings


class ExecProcess(msgspec.Struct, kw_only=True):
    """What an exec runs; Docker writes these names in small letters."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | None


class ExecInspection(msgspec.Struct, kw_only=True):
    """`GET /exec/{id}/json`; `exit_code` is None until the program has ended."""

    id: str
    running: bool
    exit_code: int | None
    process_config: ExecProcess
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str
    detach_keys: str
    pid: int


class ProcessTable(msgspec.Struct, kw_only=True):
    """`docker top`: the titles of ps's columns, and a row of cells for each process."""

    titles: list[str]
    processes: list[list[str]]


class Port(msgspec.Struct, kw_only=True):
    """One port in ps: exposed only (no public_port) or published."""

    ip: str | None = None
    private_port: int = 0
    public_port: int | None = None
    type: str = "tcp"


class SummaryHostConfig(msgspec.Struct, kw_only=True):
    """The part of HostConfig that ps shows."""

    network_mode: str
    annotations: dict[str, str] | None = None


class SummaryNetworkSettings(msgspec.Struct, kw_only=True):
    """The part of NetworkSettings that ps shows."""

    networks: dict[str, EndpointConfig]


class ContainerSummary(msgspec.Struct, kw_only=True):
    """One line of `docker ps`; `created` is seconds since 1970, `status` the words ("Up 3 minutes")."""

    id: str
    names: list[str]
    image: str
    image_id: str
    command: str
    created: int
    ports: list[Port]
    size_rw: int | None
    size_root_fs: int | None
    labels: dict[str, str]
    state: str
    status: str
    host_config: SummaryHostConfig
    network_settings: SummaryNetworkSettings
    mounts: list[MountPoint]


class Created(msgspec.Struct, kw_only=True):
    """The answer to create."""

    id: str
    warnings: list[str]


class WaitResult(msgspec.Struct, kw_only=True):
    """The answer to wait; `error` is set when the container could not be started or was removed wrongly."""

    status_code: int
    error: str | None = None


class Actor(msgspec.Struct, kw_only=True):
    """Whom an event is about; keys of `attributes` go to the client verbatim."""

    id: str
    attributes: dict[str, str]


class Event(msgspec.Struct, kw_only=True):
    """One event; `time_nano` is nanoseconds since 1970."""

    type: str
    action: str
    actor: Actor
    scope: str
    time: int
    time_nano: int


class Component(msgspec.Struct, kw_only=True):
    """One part of the engine in /version; keys of `details` are Docker's, verbatim."""

    name: str
    version: str
    details: dict[str, str]


class Platform(msgspec.Struct, kw_only=True):
    """The product's name."""

    name: str


class Version(msgspec.Struct, kw_only=True):
    """`docker version`."""

    platform: Platform
    components: list[Component]
    version: str
    api_version: str
    min_api_version: str
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str


class Plugins(msgspec.Struct, kw_only=True):
    """The drivers built in, by kind."""

    volume: list[str]
    network: list[str]
    authorization: list[str] | None
    log: list[str]


class Runtime(msgspec.Struct, kw_only=True):
    """One low-level runtime."""

    path: str


class Swarm(msgspec.Struct, kw_only=True):
    """Swarm mode is not in this engine: always inactive."""

    node_id: str = ""
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: list[str] | None = None


class Index(msgspec.Struct, kw_only=True):
    """A registry as /info shows it."""

    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(msgspec.Struct, kw_only=True):
    """Which registries may be spoken to without TLS; keys of `index_configs` go out verbatim."""

    insecure_registry_cidrs: list[str]
    index_configs: dict[str, Index]
    mirrors: list[str]


class Info(msgspec.Struct, kw_only=True):
    """`docker info`; sizes in bytes."""

    id: str
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str
    driver_status: list[list[str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool
    cpu_set: bool
    pids_limit: bool
    oom_kill_disable: bool
    ipv4_forwarding: bool
    debug: bool
    nfd: int
    n_goroutines: int
    system_time: str
    logging_driver: str
    cgroup_driver: str
    cgroup_version: str
    n_events_listener: int
    kernel_version: str
    operating_system: str
    os_version: str
    os_type: str
    architecture: str
    ncpu: int
    mem_total: int
    index_server_address: str
    registry_config: RegistryConfig
    docker_root_dir: str
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    name: str
    labels: list[str]
    experimental_build: bool
    server_version: str
    runtimes: dict[str, Runtime]
    default_runtime: str
    swarm: Swarm
    live_restore_enabled: bool
    isolation: str
    init_binary: str
    security_options: list[str]
    warnings: list[str] | None
