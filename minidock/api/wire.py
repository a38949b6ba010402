"""Docker's JSON to and from the engine's structs: `cpu_shares` is `CpuShares`, but for a table of exceptions.

Decoding is strict about types (an error names Docker's field), lenient where Go's decoder is: any case of a
key, and `null` for "not given". Unknown fields are reported, never dropped in silence. Encoding leaves a
None out where Docker does (Go's omitempty) and writes `null` elsewhere.
"""

import functools
import re
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as structure

from minidock.errors import InvalidParameter

StructType = TypeVar("StructType", bound=msgspec.Struct)

# Words of a name that are not simply capitalised.
WORDS = {
    "cidrs": "CIDRs",
    "id": "ID",
    "ids": "IDs",
    "io": "IO",
    "iops": "IOps",
    "ip": "IP",
    "ipam": "IPAM",
    "ips": "IPs",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "ncpu": "NCPU",
    "nfd": "NFd",
    "tcp": "TCP",
    "uts": "UTS",
}

# Whole names that follow no rule; a struct's own entry ("Struct.field") comes before the general one.
NAMES = {
    "id": "Id",
    "parent_id": "ParentId",
    "image_id": "ImageID",
    "dns_names": "DNSNames",
    "fs_type": "FSType",
    "host_ip": "HostIp",
    "min_api_version": "MinAPIVersion",
    "oom_killed": "OOMKilled",
    "os_type": "OSType",
    "os_version": "OSVersion",
    "root_fs": "RootFS",
    "rw": "RW",
    "Actor.id": "ID",
    "Info.id": "ID",
    "Info.cpu_shares": "CPUShares",
    "Info.cpu_set": "CPUSet",
    "ExecInspection.id": "ID",
    "ExecInspection.container_id": "ContainerID",
    "ExecProcess.arguments": "arguments",
    "ExecProcess.entrypoint": "entrypoint",
    "ExecProcess.privileged": "privileged",
    "ExecProcess.tty": "tty",
    "ExecProcess.user": "user",
    "Event.scope": "scope",
    "Event.time": "time",
    "Event.time_nano": "timeNano",
    "Runtime.path": "path",
}

# Fields that Docker leaves out when they have no value, all others being null; "Struct.field" is one struct's
# only.
OMITTED = frozenset(
    (
        "annotations",
        "args_escaped",
        "bind_options",
        "created",
        "deleted",
        "driver_config",
        "exposed_ports",
        "health",
        "healthcheck",
        "image_options",
        "init",
        "auxiliary_addresses",
        "gateway",
        "ip",
        "ip_range",
        "isolation",
        "mac_address",
        "mounts",
        "network_disabled",
        "old_id",
        "public_port",
        "runtime",
        "shell",
        "size_root_fs",
        "size_rw",
        "stop_signal",
        "stop_timeout",
        "storage_opt",
        "sysctls",
        "tmpfs",
        "tmpfs_options",
        "untagged",
        "variant",
        "volume_options",
        "MountPoint.driver",
        "MountPoint.name",
        "VolumeView.usage_data",
    )
)

# Go's strslice: a plain string stands for a list of one word.
STRING_OR_LIST = frozenset(("cmd", "entrypoint", "shell"))


@functools.cache
def wire_name(field: str, struct: str = "") -> str:
    """Return Docker's spelling of a struct's field."""
    special = NAMES.get(f"{struct}.{field}") or NAMES.get(field)
    return special or "".join(WORDS.get(word, word.capitalize()) for word in field.split("_"))


def to_wire(value: Any) -> Any:
    """Return structs, and lists and dicts of them, as data that encodes to Docker's JSON.

    The keys of a dict are the user's (labels, ports) and stay as they are.
    """
    if isinstance(value, msgspec.Struct):
        document = {}
        for field, name, omitted in _layout(type(value)):
            item = getattr(value, field)
            if item is not None:
                document[name] = item if isinstance(item, (str, int)) else to_wire(item)
            elif not omitted:
                document[name] = None
        return document
    if isinstance(value, dict):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if isinstance(item, (str, int)) else to_wire(item) for item in value]
    return value


def from_wire(kind: type[StructType], document: Any, where: str = "") -> tuple[StructType, list[str]]:
    """Return `document` as a struct, and the dotted names of its fields that the struct does not have.

    InvalidParameter names the first field of a wrong type. `where` is the document's own name within the
    request.
    """
    unknown: list[str] = []
    if document is None:
        document = {}
    plain = _rename(_shape(kind), document, where, unknown)
    try:
        return msgspec.convert(plain, kind, strict=True), unknown
    except msgspec.ValidationError as error:
        raise InvalidParameter(_message(error, where)) from None


@functools.cache
def _shape(kind: type[msgspec.Struct]) -> structure.Type:
    """Describe a type; msgspec takes a millisecond for it."""
    return structure.type_info(kind)


@functools.cache
def _layout(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, bool], ...]:
    return tuple(
        (field, wire_name(field, kind.__name__), bool({field, f"{kind.__name__}.{field}"} & OMITTED))
        for field in kind.__struct_fields__
    )


@functools.cache
def _fields_by_key(kind: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    information = _shape(kind)
    assert isinstance(information, structure.StructType)
    return {
        wire_name(field.name, kind.__name__).lower(): (field.name, field.type) for field in information.fields
    }


def _rename(shape: Any, value: Any, where: str, unknown: list[str]) -> Any:
    """Return `value` with the keys of its structs in snake_case, following the type's shape."""
    if isinstance(shape, structure.UnionType):
        shape = next((member for member in shape.types if not isinstance(member, structure.NoneType)), shape)
    if isinstance(shape, structure.StructType) and isinstance(value, dict):
        return _rename_struct(shape.cls, value, where, unknown)
    if isinstance(shape, structure.ListType) and isinstance(value, list):
        return [_rename(shape.item_type, item, f"{where}[]", unknown) for item in value]
    if isinstance(shape, structure.DictType) and isinstance(value, dict):
        return {key: _rename(shape.value_type, item, f"{where}[...]", unknown) for key, item in value.items()}
    return value


def _rename_struct(
    kind: type[msgspec.Struct], document: dict[str, Any], where: str, unknown: list[str]
) -> dict[str, Any]:
    fields = _fields_by_key(kind)
    renamed = {}
    for key, item in document.items():
        if item is None:
            continue
        path = f"{where}.{key}" if where else key
        if key.lower() not in fields:
            unknown.append(path)
            continue
        field, shape = fields[key.lower()]
        listed = [item] if field in STRING_OR_LIST and isinstance(item, str) else item
        renamed[field] = _rename(shape, listed, path, unknown)
    return renamed


def _message(error: msgspec.ValidationError, where: str) -> str:
    """Turn "Expected `int`, got `str` - at `$.host_ip`" into a sentence that names Docker's field."""
    text, _, location = str(error).partition(" - at `$")
    path = re.sub(r"[a-z][a-z0-9_]*", lambda match: wire_name(match[0]), location.rstrip("`"))
    text = text[:1].lower() + text[1:].replace("`", "")
    return f"invalid JSON: {(where + path).lstrip('.') or 'request body'}: {text}"
