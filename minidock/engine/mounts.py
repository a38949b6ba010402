"""What `-v`, `--mount` and `--tmpfs` ask for, understood as Docker does, before anything exists.

Pure: text and structs in, mount points out, an error in Docker's words for what makes no sense. Whether a
source exists and which volume is meant comes later (`mounts_settle`). Source: moby volume/mounts
(linux_parser.go), by behaviour; docs.docker.com, "Bind mounts", "Volumes", "tmpfs mounts".
"""

import posixpath
from collections.abc import Iterable, Mapping

from minidock.engine.model import HostConfig, Mount, MountPoint, TmpfsOptions, VolumeOptions
from minidock.errors import InvalidParameter, Unsupported

LOCAL_DRIVERS = ("", "local")
_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
# At most one of each group may stand in the MODE of `-v SOURCE:PATH:MODE`.
_MODE_GROUPS = (
    frozenset({"ro", "rw"}),
    frozenset({"z", "Z"}),
    _PROPAGATIONS,
    frozenset({"copy", "nocopy"}),
    frozenset({"consistent", "cached", "delegated", "default"}),
)
_TMPFS_FLAGS = _PROPAGATIONS | frozenset(
    [
        *["defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async"],
        *["dirsync", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime"],
        *["strictatime", "nostrictatime"],
    ]
)
_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_NEEDED_OPTIONS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SAFE_TMPFS = ("noexec", "nosuid", "nodev")


def requested(host: HostConfig) -> list[MountPoint]:
    """Return the mounts that `host` asks for in itself; InvalidParameter or Unsupported in Docker's words."""
    found = [bind(text, host.volume_driver) for text in host.binds or ()]
    found += [described(mount) for mount in host.mounts or ()]
    found += [temporary(target, options) for target, options in (host.tmpfs or {}).items()]
    seen: set[str] = set()
    for point in found:
        if point.destination in seen:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        seen.add(point.destination)
    for text in host.volumes_from or ():
        volumes_from(text)
    return found


def bind(text: str, driver: str = "") -> MountPoint:
    """Understand one `-v SOURCE:PATH[:MODE]`: an absolute source is a path of the host, another a volume."""
    parts = text.split(":")
    wrong = f"invalid volume specification: '{text}'"
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and is_mode(parts[1])):
        raise InvalidParameter(wrong)
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    mode = parts[2] if len(parts) == 3 else ""
    if not is_mode(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    words = mode.split(",")
    kind = "bind" if source.startswith("/") else "volume"
    destination = _destination(target, f'{wrong}: invalid mount config for type "{kind}": ')
    if kind == "bind":
        chosen = [word for word in words if word in _PROPAGATIONS]
        return MountPoint(
            type="bind",
            source=posixpath.normpath(source),
            destination=destination,
            mode=mode,
            rw="ro" not in words,
            propagation=chosen[0] if chosen else "rprivate",
            makes_source=True,
        )
    if any(word in _PROPAGATIONS for word in words):
        raise InvalidParameter(
            f'{wrong}: invalid mount config for type "volume": field BindOptions must not be specified'
        )
    _check_driver(driver, source)
    if not source and "ro" in words:
        raise InvalidParameter(f"{wrong}: must not set ReadOnly mode when using anonymous volumes")
    return MountPoint(
        type="volume",
        name=source,
        anonymous=not source,
        destination=destination,
        mode=mode or "z",
        rw="ro" not in words,
        copies="nocopy" not in words,
    )


def declared(path: str) -> MountPoint:
    """Understand one VOLUME of an image, or `-v PATH`: nothing but a place, whatever signs are in it."""
    if cleaned(path) == "/":
        raise InvalidParameter(f"invalid volume: {path!r}: invalid specification: destination can't be '/'")
    return MountPoint(type="volume", anonymous=True, destination=cleaned(path), copies=True)


def is_mode(text: str) -> bool:
    """Return whether `text` can stand as MODE in `-v SOURCE:PATH:MODE`."""
    words = text.split(",") if text else []
    known = frozenset().union(*_MODE_GROUPS)
    return set(words) <= known and all(sum(word in group for word in words) <= 1 for group in _MODE_GROUPS)


def volumes_from(text: str) -> tuple[str, bool]:
    """Understand `CONTAINER[:ro|:rw]`: the container, and whether its volumes stay writable."""
    name, colon, mode = text.partition(":")
    if not name:
        raise InvalidParameter(
            "volumes-from specification cannot be an empty string"
            if not text
            else f"invalid volumes-from specification: {text}"
        )
    if colon and not is_mode(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    if any(word in _PROPAGATIONS or word in ("copy", "nocopy") for word in mode.split(",")):
        raise InvalidParameter(f"invalid mode: {mode}")
    return name, "ro" not in mode.split(",")


def described(mount: Mount) -> MountPoint:
    """Understand one `--mount`."""
    wrong = f'invalid mount config for type "{mount.type}": '
    if not mount.target:
        raise InvalidParameter(f"{wrong}field Target must not be empty")
    destination = _destination(mount.target, wrong)
    given = {"BindOptions": mount.bind_options, "VolumeOptions": mount.volume_options,
             "TmpfsOptions": mount.tmpfs_options, "ImageOptions": mount.image_options}  # fmt: skip
    if mount.type in ("bind", "volume", "tmpfs"):
        for field, value in given.items():
            if value is not None and field != f"{mount.type.capitalize()}Options":
                raise InvalidParameter(f"{wrong}field {field} must not be specified")
    if mount.type == "bind":
        return _bind(mount, destination, wrong)
    if mount.type == "volume":
        return _volume(mount, mount.volume_options or VolumeOptions(), destination, wrong)
    if mount.type == "tmpfs":
        if mount.source:
            raise InvalidParameter(f"{wrong}field Source must not be specified")
        wanted = mount.tmpfs_options or TmpfsOptions()
        options = [f"size={wanted.size_bytes}"] if wanted.size_bytes else []
        options += [f"mode={wanted.mode:o}"] if wanted.mode else []
        options += _checked("=".join(pair) for pair in wanted.options or ())
        point = MountPoint(type="tmpfs", destination=destination, rw=not mount.read_only)
        point.options = [*_SAFE_TMPFS, *options, *([] if point.rw else ["ro"])]
        return point
    if mount.type in ("image", "npipe", "cluster"):
        raise Unsupported(f"mounts of type {mount.type} are not supported: {mount.target}")
    raise InvalidParameter(f"{wrong}mount type unknown")


def temporary(target: str, options: str) -> MountPoint:
    """Understand one `--tmpfs PATH[:OPTIONS]`."""
    destination = _destination(target, f"invalid tmpfs mount '{target}': ")
    checked = _checked(option for option in options.split(",") if option)
    return MountPoint(type="tmpfs", destination=destination, options=[*_SAFE_TMPFS, *checked])


def check_driver_options(name: str, options: Mapping[str, str]) -> None:
    """Raise InvalidParameter for options that the local volume driver has not, or that need one another."""
    for option in options:
        if option not in ("device", "o", "size", "type"):
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
    if options.get("size"):
        raise InvalidParameter(f"create {name}: quota size requested but no quota support")
    for option in options:
        for needed in _NEEDED_OPTIONS.get(option, ()):
            if not options.get(needed):
                raise InvalidParameter(f'create {name}: missing required option: "{needed}"')


def cleaned(path: str) -> str:
    """Return an absolute path without `.`, `..` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _bind(mount: Mount, destination: str, wrong: str) -> MountPoint:
    if not mount.source:
        raise InvalidParameter(f"{wrong}field Source must not be empty")
    if not mount.source.startswith("/"):
        raise InvalidParameter(f"{wrong}invalid mount path: '{mount.source}' mount path must be absolute")
    options = mount.bind_options
    point = MountPoint(
        type="bind",
        source=posixpath.normpath(mount.source),
        destination=destination,
        rw=not mount.read_only,
        propagation="rprivate",
    )
    if options is None:
        return point
    if options.propagation and options.propagation not in _PROPAGATIONS:
        raise InvalidParameter(f"{wrong}invalid propagation mode: {options.propagation}")
    point.propagation = options.propagation or "rprivate"
    point.recursive = not options.non_recursive
    point.makes_source = options.create_mountpoint
    point.recursive_read_only = not options.read_only_non_recursive
    if options.read_only_non_recursive or options.read_only_force_recursive:
        both = options.read_only_non_recursive and options.read_only_force_recursive
        if both or not mount.read_only:
            raise InvalidParameter(f"{wrong}mount must be set ReadOnly, and with one kind of recursion only")
        if options.read_only_force_recursive and (point.propagation != "rprivate" or not point.recursive):
            raise InvalidParameter(
                f"{wrong}ReadOnlyForceRecursive needs a recursive mount with the propagation rprivate"
            )
    return point


def _volume(mount: Mount, options: VolumeOptions, destination: str, wrong: str) -> MountPoint:
    if not mount.source and mount.read_only:
        raise InvalidParameter(f"{wrong}must not set ReadOnly mode when using anonymous volumes")
    if options.subpath:
        if not mount.source:
            raise InvalidParameter(f"{wrong}must not set Subpath when using anonymous volumes")
        if options.subpath.startswith("/") or ".." in posixpath.normpath(options.subpath).split("/"):
            raise InvalidParameter(f"{wrong}subpath must be a relative path within the volume")
    _check_driver(options.driver_config.name if options.driver_config else "", mount.source)
    return MountPoint(
        type="volume",
        name=mount.source,
        anonymous=not mount.source,
        destination=destination,
        mode="z",
        rw=not mount.read_only,
        copies=not (options.no_copy or options.subpath),
        subpath=posixpath.normpath(options.subpath) if options.subpath else "",
    )


def _check_driver(driver: str, name: str) -> None:
    if driver not in LOCAL_DRIVERS:
        raise InvalidParameter(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
        )


def _checked(options: Iterable[str]) -> list[str]:
    checked = list(options)
    for option in checked:
        key, separator, _ = option.partition("=")
        if key not in (_TMPFS_KEYS if separator else _TMPFS_FLAGS):
            raise InvalidParameter(f'Invalid tmpfs option "{option}"')
    return checked


def _destination(path: str, wrong: str) -> str:
    if not path.startswith("/"):
        raise InvalidParameter(f"{wrong}invalid mount path: '{path}' mount path must be absolute")
    if cleaned(path) == "/":
        raise InvalidParameter(f"{wrong}invalid specification: destination can't be '/'")
    return cleaned(path)
