"""Filters on system calls: compile a profile to a BPF program once, and load it in a process about to exec.

The two halves never meet in one process: compiling needs libseccomp and is cached by digest, loading needs
one system call and nothing else, because it happens where no library may be loaded any more. seccomp(2),
seccomp_init(3), OCI config-linux.md "Seccomp".
"""

import ctypes
import errno
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minidock import atomic
from minidock.kernel import libc, libseccomp, seccomp_newer
from minidock.kernel.libseccomp import Comparison, Filter, Library

SECCOMP_SET_MODE_FILTER = 1
FILTER_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}

_CACHE_FORMAT = 1  # part of the digest: raise it when the same profile shall compile to another program
_BPF_MAXINSNS = 4096
_ACTIONS = {
    "SCMP_ACT_KILL": libseccomp.SCMP_ACT_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": libseccomp.SCMP_ACT_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": libseccomp.SCMP_ACT_KILL_PROCESS,
    "SCMP_ACT_TRAP": libseccomp.SCMP_ACT_TRAP,
    "SCMP_ACT_ERRNO": libseccomp.SCMP_ACT_ERRNO,
    "SCMP_ACT_TRACE": libseccomp.SCMP_ACT_TRACE,
    "SCMP_ACT_LOG": libseccomp.SCMP_ACT_LOG,
    "SCMP_ACT_ALLOW": libseccomp.SCMP_ACT_ALLOW,
}
_KNOWN_MEMBERS = frozenset({"defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls"})


def compile_filter(profile: Mapping[str, Any], cache_directory: str | None = None) -> bytes:
    """Compile an OCI `linux.seccomp` object to BPF for this machine.

    `cache_directory` must be writable by root only. ValueError names what is wrong with the profile; OSError
    if libseccomp is missing or refuses.
    """
    library = Library()
    if cache_directory is None:
        return _compile(library, profile)
    key = [profile, os.uname().machine, library.version(), _CACHE_FORMAT]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = os.path.join(cache_directory, f"{digest}.bpf")
    program = _read_cached(path)
    if program is None:
        program = _compile(library, profile)
        os.makedirs(cache_directory, mode=0o700, exist_ok=True)
        # Written without waiting for the disk; the checksum tells a file that a power cut has damaged.
        atomic.write_state(path, hashlib.sha256(program).digest() + program)
    return program


def filter_flags(profile: Mapping[str, Any]) -> int:
    """Return the flags for load_filter that the profile asks for. ValueError for one we do not know."""
    flags = 0
    for name in profile.get("flags") or ():
        if name not in FILTER_FLAGS:
            raise ValueError(f"unsupported seccomp flag {name!r}")
        flags |= FILTER_FLAGS[name]
    return flags


def load_filter(program: bytes, flags: int = 0) -> None:
    """Put the calling thread, and all it will fork or exec, under the filter: for ever.

    Needs CAP_SYS_ADMIN or no_new_privs (else EACCES).
    """
    if not program or len(program) % 8 or len(program) // 8 > _BPF_MAXINSNS:
        raise OSError(errno.EINVAL, f"{len(program)} bytes are no seccomp program")
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    libc.syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(header))


def _compile(library: Library, profile: Mapping[str, Any]) -> bytes:
    if unknown := set(profile) - _KNOWN_MEMBERS:
        raise ValueError(f"unsupported members of a seccomp profile: {', '.join(sorted(unknown))}")
    filter_flags(profile)
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    tokens = [library.token(name) for name in profile.get("architectures") or ()]
    rules = profile.get("syscalls") or ()
    architectures = tokens or [int(library.native())]
    newer: dict[int, dict[int, int]] = {token: {} for token in architectures}
    with Filter(library, default) as filter_:
        filter_.optimize_for_search()
        for token in tokens:
            filter_.add_architecture(token)
        for name, action, conditions in _rules(rules):
            if action == default:
                continue  # libseccomp refuses what changes nothing
            number = library.number(name)
            if number is not None:
                filter_.add_rule(action, number, conditions, name)
                continue
            for token in architectures:
                number = seccomp_newer.number(name, token)
                if number is not None and not conditions:
                    newer[token][number] = action
        program = filter_.export()
    named = {name for rule in rules for name in rule["names"]}
    newest = {token: seccomp_newer.newest(_numbers(library, named, token)) for token in architectures}
    program = seccomp_newer.prelude(newer, newest, default) + program
    if len(program) // 8 > _BPF_MAXINSNS:
        raise ValueError(
            f"the seccomp profile compiles to {len(program) // 8} instructions, the kernel takes 4096"
        )
    return program


def _rules(rules: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, int, list[Comparison]]]:
    """Flatten the profile to (name, action, conditions that must all hold)."""
    for rule in rules:
        action = _action(rule.get("action"), rule.get("errnoRet"))
        conditions = [_condition(argument) for argument in rule.get("args") or ()]
        # All conditions of a rule must hold, but libseccomp takes one per argument: several for the same one
        # have always meant "any of them" to runc, and profiles rely on it.
        indices = [condition.index for condition in conditions]
        alternatives = [conditions] if len(set(indices)) == len(indices) else [[one] for one in conditions]
        names = rule.get("names")
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("a seccomp rule names no system call")
        for name in names:
            for alternative in alternatives:
                yield name, action, alternative


def _condition(argument: Mapping[str, Any]) -> Comparison:
    index, operator = argument.get("index"), argument.get("op")
    first, second = argument.get("value", 0), argument.get("valueTwo", 0)
    if not isinstance(index, int) or not 0 <= index <= 5:
        raise ValueError(f"invalid argument index {index!r} in a seccomp rule: it is 0 to 5")
    if operator not in libseccomp.SCMP_CMP:
        raise ValueError(f"invalid operator {operator!r} in a seccomp rule")
    if not all(isinstance(value, int) and 0 <= value < 2**64 for value in (first, second)):
        raise ValueError(f"invalid value in a seccomp rule: {argument!r}")
    return Comparison(index, str(operator), first, second)


def _action(name: str | None, errno_return: int | None) -> int:
    """Return the kernel's number for an action. ValueError for one that needs a listener, or is unknown."""
    if name not in _ACTIONS:
        raise ValueError(f"unsupported seccomp action {name!r}")
    action = _ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        number = errno.EPERM if errno_return is None else errno_return
        if not 0 <= number <= 0xFFFF:
            raise ValueError(f"invalid errnoRet {errno_return!r} in a seccomp profile")
        return action | number
    if errno_return is not None:
        raise ValueError(f"errnoRet makes no sense with {name}")
    return action


def _numbers(library: Library, names: set[str], token: int) -> Iterator[int | None]:
    """Yield the numbers of all these system calls on one architecture."""
    for name in names:
        yield library.number(name, token)
        yield seccomp_newer.number(name, token)


def _read_cached(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    checksum, program = content[:32], content[32:]
    return program if program and hashlib.sha256(program).digest() == checksum else None
