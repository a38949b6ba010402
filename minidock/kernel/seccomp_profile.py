"""Which system calls a container may make: Docker's default profile, as a table one can read.

The rule behind it: what an ordinary program needs is allowed by name, everything else is refused, and a
capability that the container has been given opens the calls that are useless without it. Facts: moby/profiles
seccomp/default.json; a test proves that this table gives the same verdict for every call. OCI config-linux.md
"Seccomp".
"""

import errno
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minidock.kernel.seccomp_calls import ALLOWED, BY_ARCHITECTURE, BY_CAPABILITY, TRACING

# Filters cover the 32-bit system calls that a 64-bit kernel also answers, or those would be a way around
# them.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
DOCKER_ARCHITECTURE_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}

AF_ALG, AF_VSOCK = 38, 40
# The only execution domains that a program may choose: Linux, with or without 32-bit address limit, and
# "ask".
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
NEW_NAMESPACE_FLAGS = 0x7E020000
# Since 4.8 ptrace can no longer be used to slip past a filter.
TRACING_SINCE = (4, 8)


@dataclass(frozen=True)
class _Machine:
    """What the conditions of a profile are decided by."""

    capabilities: frozenset[str]
    architecture: str
    kernel: tuple[int, int]


def docker_default(capabilities: Collection[str], architecture: str, kernel_version: str) -> dict[str, Any]:
    """Return Docker's default profile as an OCI `linux.seccomp` object.

    `capabilities`: the container's bounding set. `architecture` and `kernel_version` as uname(2) gives them.
    """
    machine = _machine(capabilities, architecture, kernel_version)
    names = {name for line in ALLOWED.values() for name in line.split()}
    names.update(BY_ARCHITECTURE[machine.architecture].split())
    for capability, calls in BY_CAPABILITY.items():
        if capability in machine.capabilities:
            names.update(calls.split())
    if machine.kernel >= TRACING_SINCE:
        names.update(TRACING.split())
    rules: list[dict[str, Any]] = [_allow(sorted(names))]
    rules.append(_allow(["socket"], 0, "SCMP_CMP_LT", AF_ALG))
    rules.append(_allow(["socket"], 0, "SCMP_CMP_EQ", AF_ALG + 1))
    rules.append(_allow(["socket"], 0, "SCMP_CMP_GT", AF_VSOCK))
    rules += [_allow(["personality"], 0, "SCMP_CMP_EQ", value) for value in PERSONALITIES]
    if "CAP_SYS_ADMIN" not in machine.capabilities:
        rules.append(_allow(["clone"], 0, "SCMP_CMP_MASKED_EQ", NEW_NAMESPACE_FLAGS))
        # clone3 passes its flags in memory, where no filter can look. ENOSYS makes C libraries fall back to
        # clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": list(ARCHITECTURES[architecture]),
        "syscalls": rules,
    }


def resolve(
    profile: Mapping[str, Any], capabilities: Collection[str], architecture: str, kernel_version: str
) -> dict[str, Any]:
    """Turn a profile of Docker's own format (`--security-opt seccomp=FILE`) into OCI `linux.seccomp`.

    Docker's format adds conditions (`includes`, `excludes`) and `archMap`. ValueError names what is wrong.
    """
    machine = _machine(capabilities, architecture, kernel_version)
    known = {"defaultAction", "defaultErrnoRet", "architectures", "archMap", "flags", "syscalls"}
    if unknown := set(profile) - known:
        raise ValueError(f"unsupported members of a seccomp profile: {', '.join(sorted(unknown))}")
    resolved: dict[str, Any] = {"defaultAction": profile.get("defaultAction")}
    for member in ("defaultErrnoRet", "flags"):
        if profile.get(member) is not None:
            resolved[member] = profile[member]
    if architectures := _architectures(profile, architecture):
        resolved["architectures"] = architectures
    rules = profile.get("syscalls") or ()
    resolved["syscalls"] = [_plain(rule) for rule in rules if _applies(rule, machine)]
    return resolved


def _machine(capabilities: Collection[str], architecture: str, kernel_version: str) -> _Machine:
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no seccomp profile for the architecture {architecture!r}")
    return _Machine(
        frozenset(capabilities), DOCKER_ARCHITECTURE_NAMES[architecture], _version(kernel_version)
    )


def _version(text: str) -> tuple[int, int]:
    """Return the first two numbers of "6.1.0-13-amd64"."""
    major, _, rest = text.partition(".")
    minor = ""
    for character in rest:
        if not character.isdigit():
            break
        minor += character
    if not major.isdigit() or not minor:
        raise ValueError(f"invalid kernel version {text!r}")
    return int(major), int(minor)


def _allow(names: Sequence[str], index: int = 0, operator: str = "", value: int = 0) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    if operator:
        rule["args"] = [{"index": index, "value": value, "op": operator}]
    return rule


def _architectures(profile: Mapping[str, Any], architecture: str) -> list[str]:
    listed, mapped = profile.get("architectures") or [], profile.get("archMap") or []
    if listed and mapped:
        raise ValueError(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either one"
        )
    native = ARCHITECTURES[architecture][0]
    for entry in mapped:
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return list(listed)


def _applies(rule: Mapping[str, Any], machine: _Machine) -> bool:
    """Decide a rule's conditions: every one of `includes` must hold, and none of `excludes`."""
    includes, excludes = _conditions(rule, "includes"), _conditions(rule, "excludes")
    if set(excludes.get("caps") or ()) & machine.capabilities:
        return False
    if machine.architecture in (excludes.get("arches") or ()):
        return False
    if excludes.get("minKernel") and machine.kernel >= _version(excludes["minKernel"]):
        return False
    if not set(includes.get("caps") or ()) <= machine.capabilities:
        return False
    if includes.get("arches") and machine.architecture not in includes["arches"]:
        return False
    return not includes.get("minKernel") or machine.kernel >= _version(includes["minKernel"])


def _conditions(rule: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    conditions: Mapping[str, Any] = rule.get(member) or {}
    if unknown := set(conditions) - {"caps", "arches", "minKernel"}:
        raise ValueError(f"unsupported {member} in a seccomp rule: {', '.join(sorted(unknown))}")
    return conditions


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Strip a rule of its conditions and of the older spelling with one `name`."""
    if rule.get("name") and rule.get("names"):
        raise ValueError("'name' and 'names' are both specified in a seccomp rule, use either one")
    known = {"name", "names", "action", "errnoRet", "args", "includes", "excludes", "comment"}
    if unknown := set(rule) - known:
        raise ValueError(f"unsupported members of a seccomp rule: {', '.join(sorted(unknown))}")
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    plain: dict[str, Any] = {"names": list(names), "action": rule.get("action")}
    for member in ("errnoRet", "args"):
        if rule.get(member) is not None:
            plain[member] = rule[member]
    return plain
