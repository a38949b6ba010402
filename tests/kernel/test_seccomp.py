"""Filters compiled, cached, and loaded for real in a child: what is refused, and with which error."""

import ctypes
import errno
import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import capabilities, libseccomp, process, seccomp, seccomp_profile

MACHINE = os.uname().machine
KERNEL = os.uname().release
AF_ALG, AF_VSOCK = 38, 40
CLONE_NEWUSER = 0x10000000

# Refused by Docker's default profile to a container with Docker's default capabilities (x86_64).
_NAMES = """
syslog uselib ustat sysfs vhangup pivot_root _sysctl acct settimeofday mount umount2 swapon swapoff reboot
sethostname setdomainname iopl ioperm create_module init_module delete_module get_kernel_syms query_module
quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security lookup_dcookie clock_settime vserver mbind
set_mempolicy get_mempolicy kexec_load add_key request_key keyctl migrate_pages unshare move_pages
perf_event_open fanotify_init open_by_handle_at setns kcmp finit_module kexec_file_load bpf userfaultfd
io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick
pidfd_getfd process_madvise mount_setattr quotactl_fd set_mempolicy_home_node
"""
REFUSED = _NAMES.split()

raw = ctypes.CDLL(None, use_errno=True).syscall
raw.argtypes = [ctypes.c_long] * 7
raw.restype = ctypes.c_long


def call(number: int, *arguments: int) -> str:
    """Make a system call with all arguments -1 unless given; return "" or the name of the error."""
    given = [*arguments, *[-1] * (6 - len(arguments))]
    return "" if raw(number, *given) != -1 else errno.errorcode[ctypes.get_errno()]


def number(name: str) -> int:
    found = libseccomp.Library().number(name)
    assert found is not None, name
    return found


@pytest.fixture(scope="module")
def default() -> bytes:
    return seccomp.compile_filter(
        seccomp_profile.docker_default(capabilities.DOCKER_DEFAULT, MACHINE, KERNEL)
    )


@pytest.fixture
def filtered(in_child: Any) -> Callable[[bytes, Callable[[], Any]], Any]:
    """Return the function that runs a body in a child under a filter."""

    def run(program: bytes, body: Callable[[], Any]) -> Any:
        def loaded() -> Any:
            seccomp.load_filter(program)
            return body()

        return in_child(loaded)

    return run


def profile(*rules: dict[str, Any], action: str = "SCMP_ACT_ALLOW", **members: Any) -> dict[str, Any]:
    return {"defaultAction": action, "syscalls": list(rules), **members}


def rule(name: str, action: str = "SCMP_ACT_ERRNO", **members: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **members}


@pytest.mark.skipif(MACHINE != "x86_64", reason="the list of 66 names is x86_64's")
def test_the_66_refused_calls_are_refused(default: bytes, filtered: Any, in_child: Any) -> None:
    assert len(REFUSED) == len(set(REFUSED)) == 66
    numbers = {
        name: number(name) for name in REFUSED if name != "vhangup"
    }  # vhangup would hang up the terminal
    verdicts = filtered(default, lambda: {name: call(nr) for name, nr in numbers.items()})
    assert set(verdicts.values()) == {"EPERM"}, verdicts
    bare = in_child(lambda: [call(nr) for nr in numbers.values()])
    assert bare.count("EPERM") < 15  # the twin: mostly other errors without the filter


def test_the_filter_shows_in_proc_and_stays_over_exec(default: bytes, filtered: Any) -> None:
    def body() -> str:
        with os.popen("grep ^Seccomp: /proc/self/status") as pipe:
            return pipe.read().split()[1]

    assert filtered(default, body) == "2"


def test_clone3_does_not_exist_so_that_libraries_fall_back(default: bytes, filtered: Any) -> None:
    assert filtered(default, lambda: call(number("clone3"))) == "ENOSYS"


def test_sockets_for_the_kernels_crypto_and_for_virtual_machines_are_refused(
    default: bytes, filtered: Any
) -> None:
    def body() -> list[str]:
        families = (AF_ALG, AF_VSOCK, socket.AF_INET, socket.AF_UNIX, 39, 41)
        return [call(number("socket"), family, socket.SOCK_STREAM, 0) for family in families]

    algorithm, machine, inet, unix, *others = filtered(default, body)
    assert (algorithm, machine, inet, unix) == ("EPERM", "EPERM", "", "")
    assert "EPERM" not in others


def test_new_namespaces_are_refused_and_threads_are_not(default: bytes, filtered: Any) -> None:
    def body() -> tuple[str, str]:
        refused = call(number("clone"), CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0, 0)
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return refused, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    assert filtered(default, body) == ("EPERM", "7")


def test_only_known_personalities_may_be_chosen(default: bytes, filtered: Any) -> None:
    def body() -> list[str]:
        values = (
            0xFFFFFFFF,
            0x20008,
            0x0040000,
            0x0400000,
        )  # the last two: ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC
        return [call(number("personality"), value) for value in values]

    assert filtered(default, body) == ["", "", "EPERM", "EPERM"]


def test_cap_sys_admin_opens_what_it_is_for(filtered: Any) -> None:
    program = seccomp.compile_filter(
        seccomp_profile.docker_default((*capabilities.DOCKER_DEFAULT, "CAP_SYS_ADMIN"), MACHINE, KERNEL)
    )
    names = ("mount", "unshare", "setns", "clone3", "fsopen")
    numbers = [number(name) for name in names]
    verdicts = filtered(program, lambda: [call(nr) for nr in numbers])
    assert not {"EPERM", "ENOSYS"} & set(verdicts)


def test_a_call_newer_than_the_profile_does_not_exist(default: bytes, filtered: Any) -> None:
    assert filtered(default, lambda: [call(nr) for nr in (500, 600, 4000)]) == ["ENOSYS"] * 3


@pytest.mark.parametrize("nr", [452, 457, 462, 463])
def test_a_call_that_libseccomp_may_not_know_is_allowed_by_name(
    default: bytes, filtered: Any, nr: int
) -> None:
    assert filtered(default, lambda: call(nr)) != "EPERM"  # fchmodat2, statmount, mseal, setxattrat


def test_a_call_refused_by_name_is_refused_though_libseccomp_may_not_know_it(filtered: Any) -> None:
    program = seccomp.compile_filter(profile(rule("mseal", errnoRet=errno.EXDEV), rule("getxattrat")))
    assert filtered(program, lambda: [call(462), call(464)]) == ["EXDEV", "EPERM"]


def test_the_error_is_the_one_that_the_rule_names(filtered: Any) -> None:
    program = seccomp.compile_filter(profile(rule("getpgid", errnoRet=errno.ENOTTY), rule("getsid")))
    assert filtered(program, lambda: [call(number("getpgid"), 0), call(number("getsid"), 0)]) == [
        "ENOTTY",
        "EPERM",
    ]


def test_the_default_error_is_the_one_that_the_profile_names(filtered: Any) -> None:
    names = [
        "exit_group",
        "exit",
        "write",
        "read",
        "close",
        "brk",
        "mmap",
        "munmap",
        "futex",
        "rt_sigprocmask",
    ]
    extra = [
        "fstat",
        "newfstatat",
        "lseek",
        "rt_sigaction",
        "ioctl",
        "openat",
        "madvise",
        "mprotect",
        "fcntl",
    ]
    program = seccomp.compile_filter(
        profile(
            {"names": names + extra, "action": "SCMP_ACT_ALLOW"},
            action="SCMP_ACT_ERRNO",
            defaultErrnoRet=errno.EXDEV,
        )
    )
    assert filtered(program, lambda: call(39 if MACHINE == "x86_64" else 172)) == "EXDEV"  # getpid


def test_all_conditions_of_a_rule_must_hold(filtered: Any) -> None:
    conditions = [
        {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 7, "op": "SCMP_CMP_GE"},
    ]
    program = seccomp.compile_filter(profile(rule("getpriority", args=conditions, errnoRet=errno.EXDEV)))
    nr = number("getpriority")
    assert filtered(program, lambda: [call(nr, 5, 7), call(nr, 5, 6), call(nr, 4, 7)]) == [
        "EXDEV",
        "EINVAL",
        "EINVAL",
    ]


def test_several_conditions_on_one_argument_are_alternatives(filtered: Any) -> None:
    conditions = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (5, 6)]
    program = seccomp.compile_filter(profile(rule("getpriority", args=conditions, errnoRet=errno.EXDEV)))
    nr = number("getpriority")
    assert filtered(program, lambda: [call(nr, value, 0) for value in (4, 5, 6, 7)]) == [
        "EINVAL",
        "EXDEV",
        "EXDEV",
        "EINVAL",
    ]


def test_a_killing_rule_kills(in_child: Any) -> None:
    program = seccomp.compile_filter(profile(rule("getpgid", "SCMP_ACT_KILL_PROCESS")))

    def body() -> int:
        pid = os.fork()
        if pid == 0:
            seccomp.load_filter(program)
            os.getpgid(0)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(body) == -signal.SIGSYS


def test_loading_without_privilege_needs_no_new_privileges(default: bytes, in_child: Any) -> None:
    def body(no_new_privileges: bool) -> int | None:
        os.setresuid(1000, 1000, 1000)
        if no_new_privileges:
            process.set_no_new_privileges()
        try:
            seccomp.load_filter(default)
        except OSError as error:
            return error.errno
        return None

    assert in_child(lambda: body(False)) == errno.EACCES
    assert in_child(lambda: body(True)) is None


@pytest.mark.parametrize("program", [b"", b"1234567", b"\0" * 8 * 4097, b"\xff" * 8])
def test_what_is_no_program_is_not_loaded(program: bytes, in_child: Any) -> None:
    def body() -> int | None:
        try:
            seccomp.load_filter(program)
        except OSError as error:
            return error.errno
        return None

    assert in_child(body) == errno.EINVAL


def test_loading_works_in_a_process_that_cannot_import(default: bytes, in_child: Any) -> None:
    def body() -> str:
        sys.path[:] = []
        sys.meta_path[:] = []
        seccomp.load_filter(default)
        return call(number_of_mount)

    number_of_mount = number("mount")
    assert in_child(body) == "EPERM"


def test_importing_does_not_load_the_library(in_child: Any) -> None:
    modules = "minidock.kernel.seccomp, minidock.kernel.seccomp_profile"
    program = f"import {modules}; print(open('/proc/self/maps').read())"

    def body() -> str:
        with os.popen(f'{sys.executable} -c "{program}"') as pipe:
            return pipe.read()

    maps = in_child(body)
    assert "libc.so" in maps
    assert "libseccomp" not in maps


@pytest.mark.parametrize(
    "broken",
    [
        {},
        profile(action="SCMP_ACT_NOTIFY"),
        profile(action="allow"),
        profile(rule("getpid", "SCMP_ACT_NOTIFY")),
        profile(rule("getpid", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])),
        profile(rule("getpid", args=[{"index": 0, "value": 0, "op": "EQ"}])),
        profile(rule("getpid", args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}])),
        profile({"names": [], "action": "SCMP_ACT_ERRNO"}),
        profile(rule("getpid", errnoRet=70000)),
        profile(rule("getpid", "SCMP_ACT_ALLOW", errnoRet=1)),
        profile(architectures=["SCMP_ARCH_Z80"]),
        profile(flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"]),
        profile(listenerPath="/run/x"),
        profile(rule("no_such_call")),
        profile(rule("no_such_call"), action="SCMP_ACT_LOG"),
    ],
)
def test_a_profile_that_cannot_be_honoured_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        seccomp.compile_filter(broken)


def test_an_unknown_name_in_a_list_of_allowed_calls_is_passed_over() -> None:
    known = profile(rule("getpid", "SCMP_ACT_ALLOW"), action="SCMP_ACT_ERRNO")
    unknown = profile(*known["syscalls"], rule("no_such_call", "SCMP_ACT_ALLOW"), action="SCMP_ACT_ERRNO")
    assert seccomp.compile_filter(unknown) == seccomp.compile_filter(known)


def test_flags_are_translated() -> None:
    names = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    assert seccomp.filter_flags(profile(flags=names)) == 6
    assert seccomp.filter_flags(profile()) == 0


def test_a_compiled_profile_is_found_again(tmp_path: Path) -> None:
    wanted = profile(rule("getpgid"))
    first = seccomp.compile_filter(wanted, str(tmp_path / "cache"))
    (cached,) = (tmp_path / "cache").iterdir()
    content = hashlib.sha256(b"A" * 8).digest() + b"A" * 8
    cached.write_bytes(content)  # so that we see where the answer comes from
    assert seccomp.compile_filter(wanted, str(tmp_path / "cache")) == b"A" * 8
    assert seccomp.compile_filter(wanted) == first
    seccomp.compile_filter(profile(rule("getsid")), str(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 48])
def test_a_damaged_cache_is_compiled_anew(tmp_path: Path, damage: bytes) -> None:
    wanted = profile(rule("getpgid"))
    first = seccomp.compile_filter(wanted, str(tmp_path))
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(damage)
    assert seccomp.compile_filter(wanted, str(tmp_path)) == first
    assert cached.read_bytes()[32:] == first
