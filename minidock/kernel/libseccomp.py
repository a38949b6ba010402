"""The few functions of libseccomp2 that turn a list of system calls into a classic BPF program.

Loaded only when a profile has to be compiled, never at import: the processes that load a finished filter live
in the image's file system, where a library of that name would be the image's. seccomp_init(3),
seccomp_rule_add(3).
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

SCMP_ACT_KILL_PROCESS = 0x80000000
SCMP_ACT_KILL_THREAD = 0x00000000
SCMP_ACT_TRAP = 0x00030000
SCMP_ACT_ERRNO = 0x00050000
SCMP_ACT_TRACE = 0x7FF00000
SCMP_ACT_LOG = 0x7FFC0000
SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_FLTATR_CTL_OPTIMIZE = 8
SCMP_CMP = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_NR_SCMP_ERROR = -1


class _ArgumentComparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Version(ctypes.Structure):
    """struct scmp_version."""

    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@dataclass(frozen=True)
class Comparison:
    """One condition on an argument. For SCMP_CMP_MASKED_EQ `first` is the mask, `second` the datum."""

    index: int
    operator: str
    first: int
    second: int = 0


class Library:
    """libseccomp.so.2, with the prototypes of what we call."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.init = _declare(library, "seccomp_init", ctypes.c_void_p, [ctypes.c_uint32])
        self.release = _declare(library, "seccomp_release", None, [ctypes.c_void_p])
        self.attribute = _declare(
            library, "seccomp_attr_set", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        )
        self.resolve = _declare(library, "seccomp_syscall_resolve_name", ctypes.c_int, [ctypes.c_char_p])
        self.resolve_on = _declare(
            library, "seccomp_syscall_resolve_name_arch", ctypes.c_int, [ctypes.c_uint32, ctypes.c_char_p]
        )
        self.architecture = _declare(library, "seccomp_arch_resolve_name", ctypes.c_uint32, [ctypes.c_char_p])
        self.native = _declare(library, "seccomp_arch_native", ctypes.c_uint32, [])
        self.add_architecture = _declare(
            library, "seccomp_arch_add", ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]
        )
        self.has_architecture = _declare(
            library, "seccomp_arch_exist", ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]
        )
        self.add_rule = _declare(
            library,
            "seccomp_rule_add_array",
            ctypes.c_int,
            [
                ctypes.c_void_p,
                ctypes.c_uint32,
                ctypes.c_int,
                ctypes.c_uint,
                ctypes.POINTER(_ArgumentComparison),
            ],
        )
        self.export = _declare(library, "seccomp_export_bpf", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int])
        self._version = _declare(library, "seccomp_version", ctypes.POINTER(_Version), [])

    def version(self) -> str:
        """Return e.g. "2.5.4"."""
        numbers = self._version().contents
        return f"{numbers.major}.{numbers.minor}.{numbers.micro}"

    def token(self, name: str) -> int:
        """Return the AUDIT_ARCH_* number of "SCMP_ARCH_X86_64". ValueError if libseccomp does not know it."""
        token = int(self.architecture(name.removeprefix("SCMP_ARCH_").lower().encode()))
        if token == 0:
            raise ValueError(f"unknown seccomp architecture {name!r}")
        return token

    def number(self, name: str, token: int | None = None) -> int | None:
        """Return a system call's number, natively or on one architecture.

        None if this libseccomp does not know the name; negative if the architecture lacks the call.
        """
        encoded = name.encode()
        found = int(self.resolve(encoded) if token is None else self.resolve_on(token, encoded))
        return None if found == _NR_SCMP_ERROR else found


class Filter:
    """A filter under construction; used in a `with`, which releases it."""

    def __init__(self, library: Library, default_action: int) -> None:
        self._library = library
        self._context = library.init(default_action)
        if not self._context:
            raise ValueError(f"libseccomp refuses the default action {default_action:#x}")

    def __enter__(self) -> "Filter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.release(self._context)

    def optimize_for_search(self) -> None:
        """Find a number by a binary tree, not by hundreds of comparisons in turn (libseccomp 2.5)."""
        _check(self._library.attribute(self._context, SCMP_FLTATR_CTL_OPTIMIZE, 2), "seccomp_attr_set")

    def add_architecture(self, token: int) -> None:
        """Apply the rules to a second architecture too (the native one is there from the start)."""
        if self._library.has_architecture(self._context, token) != 0:
            _check(self._library.add_architecture(self._context, token), "seccomp_arch_add")

    def add_rule(self, action: int, number: int, conditions: Sequence[Comparison], name: str) -> None:
        """Take `action` for the system call if all conditions hold."""
        array = (_ArgumentComparison * len(conditions))(
            *(
                _ArgumentComparison(one.index, SCMP_CMP[one.operator], one.first, one.second)
                for one in conditions
            )
        )
        _check(
            self._library.add_rule(self._context, action, number, len(conditions), array),
            f"seccomp_rule_add {name}",
        )

    def export(self) -> bytes:
        """Return the BPF program: struct sock_filter after struct sock_filter."""
        memory = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._library.export(self._context, memory), "seccomp_export_bpf")
            return os.pread(memory, os.fstat(memory).st_size, 0)
        finally:
            os.close(memory)


def _declare(library: ctypes.CDLL, name: str, result: Any, arguments: list[Any]) -> Any:
    function = library[name]
    function.restype = result
    function.argtypes = arguments
    return function


def _check(result: int, call: str) -> None:
    """libseccomp returns -errno."""
    if result < 0:
        raise OSError(-result, f"{os.strerror(-result)} ({call})")
