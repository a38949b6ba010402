"""An OCI bundle's `config.json` as typed values.

Every member is optional: a three-line spec runs with the same code as the engine's full one, because a member
that is absent means that its step does nothing. Unknown members are ignored, as the specification asks; a
member that this runtime knows of and cannot honour is refused by `unsupported`.

Source: OCI runtime specification 1.0.2, config.md and config-linux.md. Member names are the specification's
in snake_case.
"""

import os
from typing import Any

import msgspec

from minidock.errors import InvalidParameter, Unsupported

_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
MAXIMUM_SIZE = 8 * 1024 * 1024  # environments reach 2 MB; more is not a configuration


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """Base of every object of the document: immutable, camelCase in JSON."""


class User(Node, frozen=True):
    uid: int = 0
    gid: int = 0
    umask: int = 0o022
    additional_gids: tuple[int, ...] = ()


class Box(Node, frozen=True):
    height: int = 0
    width: int = 0


class Rlimit(Node, frozen=True):
    type: str
    soft: int
    hard: int


class Capabilities(Node, frozen=True):
    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Process(Node, frozen=True):
    """What to execute, as whom, and with which rights. `console_size` counts character cells."""

    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    rlimits: tuple[Rlimit, ...] = ()
    capabilities: Capabilities | None = None
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class Root(Node, frozen=True):
    path: str
    readonly: bool = False


class Mount(Node, frozen=True):
    destination: str
    type: str = "none"
    source: str = "none"
    options: tuple[str, ...] = ()


class Namespace(Node, frozen=True):
    type: str
    path: str = ""


class Device(Node, frozen=True):
    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int = 0o666
    uid: int = 0
    gid: int = 0


class IdMap(Node, frozen=True):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class DeviceAccess(Node, frozen=True):
    allow: bool = False
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(Node, frozen=True):
    """Sizes in bytes; -1 is unlimited."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(name="disableOOMKiller", default=None)


class Cpu(Node, frozen=True):
    """`quota` and `period` in microseconds."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str | None = None
    mems: str | None = None


class Pids(Node, frozen=True):
    limit: int = 0


class BlockIO(Node, frozen=True):
    weight: int | None = None


class Resources(Node, frozen=True):
    devices: tuple[DeviceAccess, ...] = ()
    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: Pids = Pids()
    block_io: BlockIO = msgspec.field(name="blockIO", default=BlockIO())


class Linux(Node, frozen=True):
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMap, ...] = ()
    gid_mappings: tuple[IdMap, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources = Resources()
    seccomp: dict[str, Any] | None = None
    sysctl: dict[str, str] = {}
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    rootfs_propagation: str = ""


class Hook(Node, frozen=True):
    path: str


class Spec(Node, frozen=True):
    """The whole document."""

    oci_version: str = "1.0.2"
    process: Process = Process()
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    linux: Linux = Linux()
    hooks: dict[str, tuple[Hook, ...]] = {}
    annotations: dict[str, str] = {}


def parse(document: bytes) -> Spec:
    """Decode `document`; InvalidParameter names the member that is wrong."""
    if len(document) > MAXIMUM_SIZE:
        raise InvalidParameter(f"config.json is {len(document)} bytes, more than {MAXIMUM_SIZE}")
    try:
        spec = msgspec.json.decode(document, type=Spec)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"config.json: {error}") from error
    refuse_unsupported(spec)
    return spec


def load(directory: str) -> Spec:
    """Read `directory`/config.json; relative paths of the root and of bind mounts become absolute."""
    path = os.path.join(directory, "config.json")
    try:
        with open(path, "rb") as file:
            spec = parse(file.read(MAXIMUM_SIZE + 1))
    except OSError as error:
        raise InvalidParameter(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error
    here = os.path.abspath(directory)
    bound = tuple(
        msgspec.structs.replace(entry, source=os.path.join(here, entry.source)) if is_bind(entry) else entry
        for entry in spec.mounts
    )
    root = spec.root and Root(path=os.path.join(here, spec.root.path), readonly=spec.root.readonly)
    return msgspec.structs.replace(spec, root=root, mounts=bound)


def is_bind(entry: Mount) -> bool:
    """True when `source` is a file or directory of the host rather than a file system's name."""
    return entry.type == "bind" or "bind" in entry.options or "rbind" in entry.options


def namespace(spec: Spec, kind: str) -> Namespace | None:
    """Return the entry for namespace type `kind` ("pid", "mount", ...), or None when the host's is shared."""
    return next((entry for entry in spec.linux.namespaces if entry.type == kind), None)


def refuse_unsupported(spec: Spec) -> None:
    """Raise Unsupported for a member that would otherwise be ignored to the user's harm."""
    if any(spec.hooks.values()):
        raise Unsupported("config.json: hooks are not supported")
    if spec.process.apparmor_profile not in ("", "unconfined"):
        raise Unsupported(f"config.json: apparmorProfile {spec.process.apparmor_profile!r} is not supported")
    if spec.process.selinux_label:
        raise Unsupported("config.json: selinuxLabel is not supported")
    refuse_the_hosts_own(spec)
    if any("\0" in text for text in (*spec.process.args, *spec.process.env, spec.process.cwd)):
        raise InvalidParameter("config.json: process: a NUL byte cannot be passed to a program")


def refuse_the_hosts_own(spec: Spec) -> None:
    """Raise InvalidParameter for a member that would change the host, since a namespace is missing for it."""
    mount = namespace(spec, "mount")
    if mount is None and (spec.mounts or spec.linux.masked_paths or spec.linux.readonly_paths):
        raise InvalidParameter("config.json: mounts need a mount namespace")
    if mount is not None and mount.path and spec.root is not None:
        raise Unsupported("config.json: root: a new root in a mount namespace that exists already")
    if namespace(spec, "uts") is None and (spec.hostname or spec.domainname):
        raise InvalidParameter("config.json: unable to set hostname without a private UTS namespace")
    for name in spec.linux.sysctl:
        kind = _namespace_of_sysctl(name)
        if kind is None or namespace(spec, kind) is None:
            raise InvalidParameter(f"sysctl {name!r} is not in a separate kernel namespace")


def _namespace_of_sysctl(name: str) -> str | None:
    """Return the namespace type that holds a kernel parameter, None when all containers share it."""
    if name.startswith("net."):
        return "network"
    if name.startswith("fs.mqueue.") or name in _IPC_SYSCTLS:
        return "ipc"
    return "uts" if name == "kernel.domainname" else None
