"""Compile an OCI seccomp profile to a BPF program, with libseccomp's help.

A profile that cannot be honoured to the letter is refused: a rule quietly left out would be a hole in the
sandbox. A name that nobody here knows is passed over, as by runc, only where the default is to refuse.
OCI config-linux.md "Seccomp", seccomp_rule_add(3).
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minidock.kernel import libseccomp, seccomp_newer
from minidock.kernel.libseccomp import Comparison, Filter, Library
from minidock.kernel.seccomp import BPF_MAXINSNS, filter_flags

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

_PERMISSIVE = (libseccomp.SCMP_ACT_ALLOW, libseccomp.SCMP_ACT_LOG)


def to_bpf(library: Library, profile: Mapping[str, Any]) -> bytes:
    """Return the program for this machine. ValueError names what is wrong with the profile."""
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
            numbers = {token: seccomp_newer.number(name, token) for token in architectures}
            found = {token: one for token, one in numbers.items() if one is not None and not conditions}
            if not found and default in _PERMISSIVE and action not in _PERMISSIVE:
                raise ValueError(f"cannot refuse the system call {name!r}: libseccomp does not know it")
            for token, one in found.items():
                newer[token][one] = action
        program = filter_.export()
    named = {name for rule in rules for name in rule["names"]}
    newest = {token: seccomp_newer.newest(_numbers(library, named, token)) for token in architectures}
    program = seccomp_newer.prelude(newer, newest, default) + program
    if len(program) // 8 > BPF_MAXINSNS:
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
