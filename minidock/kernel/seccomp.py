"""Filters on system calls: compile a profile to a BPF program once, and load it in a process about to exec.

The two halves never meet in one process: compiling (`seccomp_compile`) needs libseccomp and is cached by
digest; loading needs one system call and nothing else, because it happens where no library or module may be
loaded any more. seccomp(2), OCI config-linux.md "Seccomp".
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any

from minidock.kernel import libc

SECCOMP_SET_MODE_FILTER = 1
FILTER_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}

BPF_MAXINSNS = 4096

_CACHE_FORMAT = 1  # part of the digest: raise it when the same profile shall compile to another program


def compile_filter(profile: Mapping[str, Any], cache_directory: str | None = None) -> bytes:
    """Compile an OCI `linux.seccomp` object to BPF for this machine.

    `cache_directory` must be writable by root only. ValueError names what is wrong with the profile; OSError
    if libseccomp is missing or refuses.
    """
    # Imported here: the spawner, whose children load filters, must not carry OpenSSL and libseccomp.
    import hashlib
    import json

    from minidock import atomic
    from minidock.kernel import seccomp_compile
    from minidock.kernel.libseccomp import Library

    library = Library()
    if cache_directory is None:
        return seccomp_compile.to_bpf(library, profile)
    key = [profile, os.uname().machine, library.version(), _CACHE_FORMAT]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = os.path.join(cache_directory, f"{digest}.bpf")
    program = _read_cached(path, lambda data: hashlib.sha256(data).digest())
    if program is None:
        program = seccomp_compile.to_bpf(library, profile)
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
    if not program or len(program) % 8 or len(program) // 8 > BPF_MAXINSNS:
        raise OSError(errno.EINVAL, f"{len(program)} bytes are no seccomp program")
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    libc.syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(header))


def _read_cached(path: str, checksum_of: Callable[[bytes], bytes]) -> bytes | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    checksum, program = content[:32], content[32:]
    return program if program and checksum_of(program) == checksum else None
