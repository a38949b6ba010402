"""minidock.runtime.identity: ids, capabilities, no_new_privs, seccomp and limits of run and of exec."""

import resource
from typing import Any

import pytest

from minidock.errors import StartFailed
from minidock.kernel import seccomp

DEFAULT = "00000000a80425fb"
NONE = "0" * 16
SETS = ("Inh", "Prm", "Eff", "Bnd", "Amb")


def status(bench, how: str = "run", spec: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    """Return /proc/self/status of a program started by run or by exec."""
    command = ("cat", "/proc/self/status")
    if how == "run":
        given = {f"process_{name}": value for name, value in changes.items()}
        text = bench.run(spec or bench.spec(*command, **given)).out
    else:
        running = bench.launch(bench.spec("sleep", "1000"))
        text = running.execute(*command, **changes).out
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()}


HOW = pytest.mark.parametrize("how", ["run", "exec"])


@HOW
def test_root_has_dockers_fourteen_capabilities_and_none_to_inherit(bench, how: str) -> None:
    found = status(bench, how)
    assert [found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        NONE,
        DEFAULT,
        DEFAULT,
        DEFAULT,
        NONE,
    ]


@HOW
def test_another_user_has_none_but_the_bounding_set(bench, how: str) -> None:
    found = status(bench, how, user={"uid": 1000, "gid": 1000, "additionalGids": [5, 7]})
    assert [found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        NONE,
        NONE,
        NONE,
        DEFAULT,
        NONE,
    ]
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1000"] * 4
    assert found["Groups"].split() == ["5", "7"]


def test_ambient_capabilities_reach_another_user(bench) -> None:
    rights = {
        name: ["CAP_NET_RAW"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    found = status(bench, user={"uid": 1000, "gid": 1000}, capabilities=rights)
    assert {found[f"Cap{name}"] for name in SETS} == {f"{1 << 13:016x}"}


def test_ambient_capabilities_that_cannot_be_are_left_out(bench) -> None:
    """`runc spec` writes an ambient list without an inheritable one."""
    rights = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "ambient")}
    found = status(bench, capabilities=rights)
    assert (found["CapAmb"], found["CapEff"]) == (NONE, f"{1 << 5:016x}")


def test_without_the_member_capabilities_are_left_alone(bench) -> None:
    spec = bench.spec("cat", "/proc/self/status")
    del spec["process"]["capabilities"]
    assert status(bench, spec=spec)["CapEff"] not in (NONE, DEFAULT)


def test_an_empty_list_takes_everything(bench) -> None:
    found = status(bench, capabilities={})
    assert {found[f"Cap{name}"] for name in ("Prm", "Eff", "Bnd")} == {NONE}


@HOW
@pytest.mark.parametrize("wanted", [False, True])
def test_no_new_privileges_only_when_asked(bench, how: str, wanted: bool) -> None:
    assert status(bench, how, noNewPrivileges=wanted)["NoNewPrivs"] == str(int(wanted))


def test_a_setuid_program_gains_nothing_with_no_new_privileges(bench, own_root) -> None:
    """busybox's su works only when it is setuid root; the account of the test has no password."""
    (own_root / "bin/busybox").chmod(0o4755)
    for wanted in (False, True):
        spec = bench.shell("su user -c id", process_noNewPrivileges=wanted)
        spec["process"]["user"] = {"uid": 1001, "gid": 1001}
        ended = bench.run(spec)
        assert ("uid=1000" in ended.out) == (not wanted), ended
        assert ("must be suid" in ended.err) == wanted, ended


def test_the_working_directory_may_be_closed_to_the_user(bench, own_root) -> None:
    (own_root / "closed").mkdir(mode=0o700)
    user = {"uid": 1000, "gid": 1000}
    assert bench.run(bench.shell("pwd", process_cwd="/closed", process_user=user)).out == "/closed\n"
    running = bench.launch(bench.spec("sleep", "1000"))
    assert running.execute("pwd", cwd="/closed", user=user).out == "/closed\n"


def test_the_umask_of_the_spec_is_used(bench) -> None:
    assert bench.run(bench.shell("umask", process_user={"umask": 0o077})).out == "0077\n"


@HOW
@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_seccomp_filter_is_loaded_in_any_order_of_rights(
    bench, how: str, no_new_privileges: bool, uid: int
) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    program = seccomp.compile_filter(profile)
    changes = {"user": {"uid": uid, "gid": 0}, "noNewPrivileges": no_new_privileges, "cwd": "/tmp"}
    given = {f"process_{name}": value for name, value in changes.items()}
    command = ("sh", "-c", "mkdir /tmp/x; grep Seccomp: /proc/self/status")
    if how == "run":
        ended = bench.run(bench.spec(*command, **given), seccomp=program)
    else:
        running = bench.launch(bench.spec("sleep", "1000"))
        ended = running.execute(*command, seccomp=program, **changes)
    assert "No space left" in ended.err
    assert ended.out.split() == ["Seccomp:", "2"]


def test_limits_are_set_and_others_left_alone(bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    spec = bench.shell("ulimit -Sn; ulimit -Hn; ulimit -c", process_rlimits=limits)
    assert bench.run(spec).out.split() == ["100", "200", "0"]
    assert bench.run(bench.shell("ulimit -Sn; ulimit -Hn")).out.split() == [str(soft), str(hard)]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}, "unknown rlimit RLIMIT_NONSENSE"),
        ({"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}, "RLIMIT_NOFILE"),
        ({"type": "__name__", "soft": 1, "hard": 1}, "unknown rlimit"),
        ({"type": "getrlimit", "soft": 1, "hard": 1}, "unknown rlimit"),
    ],
)
def test_a_limit_that_cannot_be_set_stops_the_start(bench, limit: dict[str, Any], words: str) -> None:
    with pytest.raises(StartFailed, match=words):
        bench.run(bench.shell("true", process_rlimits=[limit]))


def test_an_unknown_capability_stops_the_start(bench) -> None:
    rights = {"bounding": ["CAP_NONSENSE"]}
    with pytest.raises(StartFailed, match="CAP_NONSENSE"):
        bench.run(bench.shell("true", process_capabilities=rights))


def test_the_oom_score_is_the_specs_and_never_the_shims(bench) -> None:
    spec = bench.spec("cat", "/proc/self/oom_score_adj", process_oomScoreAdj=500)
    assert bench.run(spec).out == "500\n"
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        ours = file.read()
    assert bench.run(bench.spec("cat", "/proc/self/oom_score_adj")).out == ours
