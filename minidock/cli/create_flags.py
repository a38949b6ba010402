"""The flags of `create` and `run`, in one table; most rows only name a field of the Engine API.

Left out are docker's flags for Windows, GPUs and content trust, and `--kernel-memory`, which docker itself
ignores.
"""

from __future__ import annotations

from minidock.cli import create_network
from minidock.cli import create_values as values
from minidock.cli.flags import Flag
from minidock.cli.values import bounded, byte_size, duration_ns, nano_cpus, swap_size

INTEGER = bounded(-(2**63), 2**63 - 1, "Int")


def _text(name: str, about: str, short: str = "", aliases: tuple[str, ...] = ()) -> Flag:
    return Flag(name, short, "string", about, aliases=aliases)


def _list(name: str, about: str, convert: values.Convert | None = None, short: str = "") -> Flag:
    return Flag(name, short, "list", about, convert)


def _truth(name: str, about: str, short: str = "") -> Flag:
    return Flag(name, short, "bool", about)


def _integer(name: str, about: str, short: str = "") -> Flag:
    return Flag(name, short, "int", about, INTEGER, 0)


def _bytes(name: str, about: str, short: str = "", convert: values.Convert = byte_size) -> Flag:
    return Flag(name, short, "bytes", about, convert, 0)


def _duration(name: str, about: str) -> Flag:
    return Flag(name, "", "duration", about, duration_ns, 0, "0s")


def _map(name: str, about: str, convert: values.Convert) -> Flag:
    return Flag(name, "", "map", about, convert, None, "map[]", True)


def _rated(name: str, about: str, convert: values.Convert) -> Flag:
    return Flag(name, "", "list", about, convert, None, "[]")


STREAMS_AND_NAMES = (
    _list("attach", "Attach to STDIN, STDOUT or STDERR", values.stream_name, "a"),
    _text("cidfile", "Write the container ID to the file"),
    _truth("interactive", "Keep STDIN open even if not attached", "i"),
    _list("label", "Set meta data on a container", values.label, "l"),
    _list("label-file", "Read in a line delimited file of labels"),
    _map("annotation", "Add an annotation to the container (passed through to the OCI runtime)", values.pair),
    _text("name", "Assign a name to the container"),
    _text("platform", "Set platform if server is multi-platform capable"),
    Flag(
        "pull",
        "",
        "string",
        'Pull image before running ("always", "missing", "never")',
        None,
        "missing",
        '"missing"',
    ),
    _truth("quiet", "Suppress the pull output", "q"),
    _truth("rm", "Automatically remove the container and its associated anonymous volumes when it exits"),
    _truth("tty", "Allocate a pseudo-TTY", "t"),
)
PROCESS = (
    _text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    _list("env", "Set environment variables", values.variable, "e"),
    _list("env-file", "Read in a file of environment variables"),
    _list("group-add", "Add additional groups to join"),
    _text("health-cmd", "Command to run to check health"),
    _duration("health-interval", "Time between running the check (ms|s|m|h)"),
    _integer("health-retries", "Consecutive failures needed to report unhealthy"),
    _duration("health-start-interval", "Time between running the check during the start period (ms|s|m|h)"),
    _duration(
        "health-start-period",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)",
    ),
    _duration("health-timeout", "Maximum time to allow one check to run (ms|s|m|h)"),
    _truth("init", "Run an init inside the container that forwards signals and reaps processes"),
    _truth("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
    Flag("restart", "", "string", "Restart policy to apply when a container exits", None, "no", '"no"'),
    _text("runtime", "Runtime to use for this container"),
    _text("stop-signal", "Signal to stop the container"),
    _integer("stop-timeout", "Timeout (in seconds) to stop a container"),
    Flag("ulimit", "", "ulimit", "Ulimit options", values.ulimit, None, "[]", True),
    _text("user", "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
    _text("workdir", "Working directory inside the container", "w"),
)
ISOLATION = (
    _list("cap-add", "Add Linux capabilities"),
    _list("cap-drop", "Drop Linux capabilities"),
    _text("cgroup-parent", "Optional parent cgroup for the container"),
    _text(
        "cgroupns",
        "Cgroup namespace to use (host|private)\n"
        "'host':    Run the container in the Docker host's cgroup namespace\n"
        "'private': Run the container in its own private cgroup namespace\n"
        "'':        Use the cgroup namespace as configured by the\n"
        "           default-cgroupns-mode option on the daemon (default)",
    ),
    _text("ipc", "IPC mode to use"),
    _text("pid", "PID namespace to use"),
    _truth("privileged", "Give extended privileges to this container"),
    _list("security-opt", "Security Options"),
    _map("sysctl", "Sysctl options", values.sysctl),
    _text("userns", "User namespace to use"),
    _text("uts", "UTS namespace to use"),
)
LIMITS = (
    Flag(
        "blkio-weight",
        "",
        "uint16",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable",
        bounded(0, 65535),
        0,
        "0",
    ),
    _rated("blkio-weight-device", "Block IO weight (relative device weight)", values.device_weight),
    _integer("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    _integer("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    _integer("cpu-rt-period", "Limit CPU real-time period in microseconds"),
    _integer("cpu-rt-runtime", "Limit CPU real-time runtime in microseconds"),
    _integer("cpu-shares", "CPU shares (relative weight)", "c"),
    Flag("cpus", "", "decimal", "Number of CPUs", nano_cpus, 0),
    _text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    _text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    _rated(
        "device-read-bps", "Limit read rate (bytes per second) from a device", values.device_rate(byte_size)
    ),
    _rated("device-read-iops", "Limit read rate (IO per second) from a device", values.device_rate(int)),
    _rated(
        "device-write-bps", "Limit write rate (bytes per second) to a device", values.device_rate(byte_size)
    ),
    _rated("device-write-iops", "Limit write rate (IO per second) to a device", values.device_rate(int)),
    _bytes("memory", "Memory limit", "m"),
    _bytes("memory-reservation", "Memory soft limit"),
    _bytes(
        "memory-swap",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
        convert=swap_size,
    ),
    Flag("memory-swappiness", "", "int", "Tune container memory swappiness (0 to 100)", INTEGER, -1, "-1"),
    _truth("oom-kill-disable", "Disable OOM Killer"),
    _integer("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    _integer("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
    _bytes("shm-size", "Size of /dev/shm"),
)
FILES = (
    _list("device", "Add a host device to the container"),
    _list("device-cgroup-rule", "Add a rule to the cgroup allowed devices list", values.device_rule),
    Flag("mount", "", "mount", "Attach a filesystem mount to the container", values.mount, repeats=True),
    _truth("read-only", "Mount the container's root filesystem as read only"),
    _list("storage-opt", "Storage driver options for the container"),
    _list("tmpfs", "Mount a tmpfs directory"),
    _list("volume", "Bind mount a volume", None, "v"),
    _text("volume-driver", "Optional volume driver for the container"),
    _list("volumes-from", "Mount volumes from the specified container(s)"),
    _text("log-driver", "Logging driver for the container"),
    _list("log-opt", "Log driver options"),
)
NETWORK = (
    _list("add-host", "Add a custom host-to-IP mapping (host:ip)", values.extra_host),
    _list("dns", "Set custom DNS servers", values.ip_address),
    Flag("dns-option", "", "list", "Set DNS options", aliases=("dns-opt",)),
    _list("dns-search", "Set custom DNS search domains", values.domain),
    _text("domainname", "Container NIS domain name"),
    _list("expose", "Expose a port or a range of ports"),
    _text("hostname", "Container host name", "h"),
    _text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    _text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    _list("link", "Add link to another container", values.link),
    _list("link-local-ip", "Container IPv4/IPv6 link-local addresses"),
    _text("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag(
        "network",
        "",
        "network",
        "Connect a container to a network",
        create_network.network,
        repeats=True,
        aliases=("net",),
    ),
    _list("network-alias", "Add network-scoped alias for the container"),
    _list("publish", "Publish a container's port(s) to the host", None, "p"),
    _truth("publish-all", "Publish all exposed ports to random ports", "P"),
)
CREATE_FLAGS = (*STREAMS_AND_NAMES, *PROCESS, *ISOLATION, *LIMITS, *FILES, *NETWORK)
DETACH_KEYS = _text("detach-keys", "Override the key sequence for detaching a container")
SIG_PROXY = Flag("sig-proxy", "", "bool", "Proxy received signals to the process", None, True, "true")
SIG_PROXY_ALL = Flag("sig-proxy", "", "bool", "Proxy all received signals to the process", None, True, "true")
RUN_FLAGS = (
    *CREATE_FLAGS,
    _truth("detach", "Run container in background and print container ID", "d"),
    DETACH_KEYS,
    _truth("explain", "Say step by step what the engine does to start the container (minidock only)"),
    SIG_PROXY,
)
