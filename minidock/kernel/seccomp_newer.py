"""System calls newer than the installed libseccomp or newer than the profile: a few BPF instructions.

A C library tries a new call and falls back when it hears ENOSYS. A filter that answers EPERM to what it has
never heard of breaks that, so calls beyond the newest one a profile names answer ENOSYS, as under runc. And
Debian 12's libseccomp 2.5.4 does not know the names of calls since Linux 5.17, which the profile may allow by
name: those instructions come first. seccomp(2), include/uapi/linux/bpf_common.h, scripts/syscall.tbl in the
kernel's source.
"""

import errno
import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType

# From 424 on, all architectures of Linux give a new system call the same number.
NUMBERS = MappingProxyType(
    {
        "memfd_secret": 447,
        "process_mrelease": 448,
        "futex_waitv": 449,
        "set_mempolicy_home_node": 450,
        "cachestat": 451,
        "fchmodat2": 452,
        "map_shadow_stack": 453,
        "futex_wake": 454,
        "futex_wait": 455,
        "futex_requeue": 456,
        "statmount": 457,
        "listmount": 458,
        "lsm_get_self_attr": 459,
        "lsm_set_self_attr": 460,
        "lsm_list_modules": 461,
        "mseal": 462,
        "setxattrat": 463,
        "getxattrat": 464,
        "listxattrat": 465,
        "removexattrat": 466,
        "open_tree_attr": 467,
        "file_getattr": 468,
        "file_setattr": 469,
    }
)
# A number that only one architecture has: the kernel puts this call itself into a probed program, which dies
# of EPERM.
_AUDIT_ARCH_X86_64 = 0xC000003E
_SINGULAR = MappingProxyType({("uretprobe", _AUDIT_ARCH_X86_64): 335})

FIRST_COMMON_NUMBER = 424

_RET_ERRNO = 0x00050000
_RET_ACTION = 0xFFFF0000
# x32 calls come under x86_64's architecture number, marked by bit 30; only libseccomp has a number for x32.
_SCMP_ARCH_X32 = 0x4000003E
_X32_BIT = 0x40000000
# From here on: ARM's private calls, and those of x32.
_END_OF_NUMBERS = 0x000F0000

_LD_WORD, _RET = 0x20, 0x06
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL = 0x15, 0x25, 0x35
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4  # in struct seccomp_data


def number(name: str, architecture: int) -> int | None:
    """Return the number of a system call that libseccomp may not know; None if we do not know it either."""
    return NUMBERS.get(name) or _SINGULAR.get((name, architecture))


def newest(numbers: Iterable[int | None]) -> int:
    """Return the highest of the numbers that count up with Linux's age, at least the last uncommon one."""
    ordinary = (one for one in numbers if one is not None and one < _END_OF_NUMBERS)
    return max(ordinary, default=0)


def prelude(actions: Mapping[int, Mapping[int, int]], newest: Mapping[int, int], default: int) -> bytes:
    """Build the instructions that go before a filter.

    `actions`: AUDIT_ARCH number -> system call -> action, for calls that libseccomp cannot name. `newest`:
    AUDIT_ARCH number -> the highest call of the profile; beyond it the answer is ENOSYS instead of the
    default, if that is an error at all.
    """
    extends = default & _RET_ACTION == _RET_ERRNO
    blocks = b""
    for architecture, highest in newest.items():
        ours = actions.get(architecture, {})
        if architecture == _SCMP_ARCH_X32:
            reported, body = _AUDIT_ARCH_X86_64, _x32(ours)
        else:
            bound = max(highest, FIRST_COMMON_NUMBER - 1) if extends else None
            reported, body = architecture, _one_architecture(ours, bound)
        if body:
            blocks += _instruction(_LD_WORD, _ARCHITECTURE_OFFSET)
            blocks += _instruction(_JUMP_EQUAL, reported, 0, len(body) // 8) + body
    return blocks


def _one_architecture(actions: Mapping[int, int], newest: int | None) -> bytes:
    tests = _tests(actions)
    if newest is not None:
        tests += _instruction(_JUMP_GREATER, newest, 0, 1) + _instruction(_RET, _RET_ERRNO | errno.ENOSYS)
    if not tests:
        return b""
    skip = _instruction(_JUMP_GREATER_EQUAL, _END_OF_NUMBERS, len(tests) // 8, 0)
    return _instruction(_LD_WORD, _NUMBER_OFFSET) + skip + tests


def _x32(actions: Mapping[int, int]) -> bytes:
    tests = _tests({number | _X32_BIT: action for number, action in actions.items()})
    return _instruction(_LD_WORD, _NUMBER_OFFSET) + tests if tests else b""


def _tests(actions: Mapping[int, int]) -> bytes:
    return b"".join(
        _instruction(_JUMP_EQUAL, number, 0, 1) + _instruction(_RET, action)
        for number, action in sorted(actions.items())
    )


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Encode struct sock_filter: code, how many instructions to skip if true and if false, operand."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
