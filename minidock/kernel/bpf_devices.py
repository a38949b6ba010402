"""The device rules of cgroups version 2: a small eBPF program, asked at each open and mknod of a device.

Version 2 has no file for device rules. The program is assembled here, instruction by instruction, from the
same reduced rules that version 1 gets. bpf(2), include/uapi/linux/bpf.h,
Documentation/bpf/standardization/instruction-set.rst.
"""

import ctypes
import errno
import os
import struct
from contextlib import suppress

from minidock.kernel import libc
from minidock.kernel.devices import DevicePolicy, DeviceRule

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 1 << 1
BPF_DEVCG_ACC_MKNOD, BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE = 1, 2, 4
BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR = 1, 2

_ACCESS = {"m": BPF_DEVCG_ACC_MKNOD, "r": BPF_DEVCG_ACC_READ, "w": BPF_DEVCG_ACC_WRITE}
_TYPE = {"b": BPF_DEVCG_DEV_BLOCK, "c": BPF_DEVCG_DEV_CHAR}

# Opcodes: class (ALU32 4, ALU64 7, JMP 5, JMP32 6, LDX 1) | source (immediate 0, register 8) | operation.
_LDX_W = 0x61
_MOV64_IMM = 0xB7
_MOV32_REG = 0xBC
_AND32_IMM = 0x54
_RSH32_IMM = 0x74
_JNE32_IMM = 0x56
_JEQ32_IMM = 0x16
_EXIT = 0x95

_CONTEXT, _RESULT, _KIND, _ACCESS_REGISTER, _MAJOR, _MINOR, _SCRATCH = 1, 0, 2, 3, 4, 5, 6


def assemble(policy: DevicePolicy) -> bytes:
    """Translate reduced rules to eBPF: one test after the other, and the default verdict at the end."""
    program = [
        # struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type); u32 major; u32 minor; }
        _instruction(_LDX_W, _KIND, _CONTEXT, 0),
        _instruction(_MOV32_REG, _ACCESS_REGISTER, _KIND),
        _instruction(_RSH32_IMM, _ACCESS_REGISTER, immediate=16),
        _instruction(_AND32_IMM, _KIND, immediate=0xFFFF),
        _instruction(_LDX_W, _MAJOR, _CONTEXT, 4),
        _instruction(_LDX_W, _MINOR, _CONTEXT, 8),
    ]
    for rule in policy.exceptions:
        program += _exception(rule, policy.allow)
    program += _verdict(policy.allow)
    return b"".join(program)


def replace(directory: str, program: bytes) -> None:
    """Make `program` the only device program attached to the cgroup version 2 directory."""
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        former = attached(cgroup)
        loaded = _load(program)
        try:
            # MULTI, or the kernel would refuse where an ancestor (systemd's, say) has a program of its own.
            # Every program on the way up must agree, so the new one goes in before the old one leaves: never
            # a gap.
            attribute = struct.pack("=IIII", cgroup, loaded, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
            _bpf(BPF_PROG_ATTACH, attribute, "BPF_PROG_ATTACH")
        finally:
            os.close(loaded)
        for program_id in former:
            _detach(cgroup, program_id)
        if len(attached(cgroup)) != 1:
            raise OSError(errno.EBUSY, "the cgroup's device program was changed at the same time", directory)
    finally:
        os.close(cgroup)


def attached(cgroup: int) -> list[int]:
    """List the ids of the device programs attached to the cgroup directory descriptor."""
    ids = (ctypes.c_uint32 * 64)()
    attribute = struct.pack("=IIIIQII", cgroup, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), len(ids), 0)
    answer = ctypes.create_string_buffer(attribute, 64)
    _call(BPF_PROG_QUERY, answer, "BPF_PROG_QUERY")
    (count,) = struct.unpack_from("=I", answer, 24)
    return list(ids[:count])


def _exception(rule: DeviceRule, allow: bool) -> list[bytes]:
    """Test one rule; falls through if it does not speak of this device and access."""
    mask = sum(_ACCESS[letter] for letter in set(rule.access))
    tests = [(_JNE32_IMM, _KIND, _TYPE[rule.type])]
    if rule.major is not None:
        tests.append((_JNE32_IMM, _MAJOR, rule.major))
    if rule.minor is not None:
        tests.append((_JNE32_IMM, _MINOR, rule.minor))
    prepare = [_instruction(_MOV32_REG, _SCRATCH, _ACCESS_REGISTER)]
    if allow:  # the rule denies: any of its access bits in the request is enough
        prepare.append(_instruction(_AND32_IMM, _SCRATCH, immediate=mask))
        last = (_JEQ32_IMM, _SCRATCH, 0)
    else:  # the rule allows: the request may hold no other access bit
        prepare.append(_instruction(_AND32_IMM, _SCRATCH, immediate=~mask & 7))
        last = (_JNE32_IMM, _SCRATCH, 0)
    after = _verdict(not allow)
    length = len(tests) + len(prepare) + 1 + len(after)
    code: list[bytes] = []
    for opcode, register, immediate in tests:
        code.append(_instruction(opcode, register, 0, length - len(code) - 1, immediate))
    code += prepare
    opcode, register, immediate = last
    code.append(_instruction(opcode, register, 0, length - len(code) - 1, immediate))
    return code + after


def _verdict(allow: bool) -> list[bytes]:
    return [_instruction(_MOV64_IMM, _RESULT, immediate=int(allow)), _instruction(_EXIT)]


def _instruction(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """Encode one instruction: opcode, two registers of four bits, jump or memory offset, immediate value."""
    return struct.pack("=BBhI", opcode, source << 4 | target, offset, immediate & 0xFFFFFFFF)


def _load(program: bytes) -> int:
    """Load a program and return its descriptor. OSError has the verifier's words as a note."""
    try:
        return _try_to_load(program)
    except OSError as error:
        log = ctypes.create_string_buffer(1 << 16)
        # Only the second attempt asks for words: a good program with a log beyond the buffer fails (ENOSPC).
        with suppress(OSError):
            os.close(_try_to_load(program, log))
        error.add_note(log.value.decode(errors="replace"))
        raise


def _try_to_load(program: bytes, log: "ctypes.Array[ctypes.c_char] | None" = None) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    license_name = ctypes.create_string_buffer(b"GPL")
    attribute = struct.pack(
        "=IIQQIIQ",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_name),
        0 if log is None else 1,
        0 if log is None else len(log),
        0 if log is None else ctypes.addressof(log),
    )
    return _bpf(BPF_PROG_LOAD, attribute, "BPF_PROG_LOAD")  # the kernel sets close-on-exec


def _detach(cgroup: int, program_id: int) -> None:
    program = _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("=III", program_id, 0, 0), "BPF_PROG_GET_FD_BY_ID")
    try:
        attribute = struct.pack("=IIII", cgroup, program, BPF_CGROUP_DEVICE, 0)
        _bpf(BPF_PROG_DETACH, attribute, "BPF_PROG_DETACH")
    finally:
        os.close(program)


def _bpf(command: int, attribute: bytes, name: str) -> int:
    return _call(command, ctypes.create_string_buffer(attribute, max(len(attribute), 64)), name)


def _call(command: int, attribute: "ctypes.Array[ctypes.c_char]", name: str) -> int:
    try:
        return libc.syscall("bpf", command, ctypes.byref(attribute), len(attribute))
    except OSError as error:
        raise OSError(error.errno, f"bpf({name}): {error.strerror}") from None
