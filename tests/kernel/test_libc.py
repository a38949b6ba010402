"""minidock.kernel.libc: the numbers against the kernel's headers, the registers against the kernel."""

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.kernel import libc

PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


def numbers_in(header: str) -> dict[str, int]:
    """Return the system calls that a header defines, by name."""
    found = re.findall(r"^#define __NR_(\w+)\s+(\d+)\s*$", header, re.MULTILINE)
    return {name: int(number) for name, number in found}


def differences(ours: dict[str, int], theirs: dict[str, int]) -> dict[str, tuple[int, int | None]]:
    return {name: (number, theirs.get(name)) for name, number in ours.items() if theirs.get(name) != number}


@pytest.mark.parametrize("architecture", sorted(HEADERS))
def test_the_numbers_are_those_of_the_kernels_headers(architecture: str) -> None:
    present = [path for path in HEADERS[architecture] if os.path.exists(path)]
    if not present:
        pytest.skip(f"no kernel header for {architecture} (package linux-libc-dev)")
    theirs = numbers_in(Path(present[0]).read_text())
    ours = libc.NUMBERS[architecture]
    assert differences(ours, theirs) == {}
    wrong = ours | {"mount": ours["mount"] + 1, "no_such_call": 1}
    assert set(differences(wrong, theirs)) == {"mount", "no_such_call"}


def test_every_architecture_knows_the_same_calls_under_numbers_of_their_own() -> None:
    assert libc.NUMBERS["x86_64"].keys() == libc.NUMBERS["aarch64"].keys()
    for table in libc.NUMBERS.values():
        assert len(set(table.values())) == len(table)


def test_a_call_returns_its_result() -> None:
    assert libc.syscall("gettid") == int(os.readlink("/proc/thread-self").rpartition("/")[2])


def test_an_error_carries_errno_the_object_and_the_name_of_the_call() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        libc.syscall("umount2", b"/no/such/place", 0, about="/no/such/place")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/no/such/place"
    assert str(caught.value) == "[Errno 2] No such file or directory: '/no/such/place'"
    assert caught.value.__notes__ == ["the system call was umount2(2)"]


def test_a_call_without_a_number_is_enosys_and_named() -> None:
    with pytest.raises(OSError, match="no_such_call") as caught:
        libc.syscall("no_such_call")
    assert caught.value.errno == errno.ENOSYS


def test_an_int_fills_all_64_bits_of_its_register(in_child) -> None:
    def name_by_address() -> str:
        name = ctypes.create_string_buffer(b"by-address")
        address = ctypes.addressof(name)
        assert address >= 2**32  # as a 32-bit int it would be cut off, and EFAULT
        libc.syscall("prctl", PR_SET_NAME, address)
        return Path("/proc/thread-self/comm").read_text()

    assert in_child(name_by_address) == "by-address\n"


def test_negative_ints_bytes_pointers_and_nothing_are_arguments_too(in_child) -> None:
    how = ctypes.create_string_buffer(struct.pack("=3Q", os.O_PATH, 0, 0))

    def open_here() -> str:
        os.chdir("/proc/self")
        descriptor = libc.syscall("openat2", -100, b"fd", ctypes.byref(how), 24)  # -100 is AT_FDCWD
        return os.readlink(f"/proc/self/fd/{descriptor}")

    assert in_child(open_here).endswith("/fd")
    with pytest.raises(OSError, match="Bad address"):
        libc.syscall("openat2", -100, None, ctypes.byref(how), 24)


def test_the_arguments_that_are_not_given_are_zero(in_child) -> None:
    def forgo() -> None:
        # prctl(2): "arg3, arg4 and arg5 must be zero", which a variadic call leaves to chance.
        for _ in range(100):
            libc.syscall("prctl", PR_SET_NO_NEW_PRIVS, 1)
        with pytest.raises(OSError, match="Invalid argument"):
            libc.syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 7)

    in_child(forgo)


def test_encode_accepts_every_kind_of_path_and_undecodable_bytes() -> None:
    assert libc.encode("ä") == "ä".encode()
    assert libc.encode(Path("/tmp")) == b"/tmp"
    assert libc.encode(os.fsdecode(b"\xff/x")) == b"\xff/x"


@pytest.mark.parametrize("text", ["a\0b", b"a\0b"])
def test_a_nul_byte_is_refused_for_the_kernel_would_cut_the_path_there(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="null byte"):
        libc.encode(text)


def test_the_kernel_modules_load_nothing_heavy() -> None:
    program = (
        "import sys; import ctypes, json, dataclasses, contextlib; before = set(sys.modules);"
        "from minidock.kernel import libc, mounts, namespaces, openat2, process, terminal, trace;"
        "print(*sorted(name.partition('.')[0] for name in set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    light = {
        "minidock",
        "typing",
        "errno",
        "fcntl",
        "select",
        "signal",
        "termios",
        "struct",
        "_struct",
        "_typing",
    }
    assert set(run.stdout.split()) <= light
