"""Our table of the default profile against Docker's own file: the same verdict for every call."""

import itertools
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import capabilities, libseccomp, seccomp, seccomp_calls, seccomp_profile

DOCKERS = Path(__file__).parents[3] / "shared" / "data" / "docker-default-seccomp.json"
KERNEL = "6.1.0-13-amd64"
DECISIVE = sorted(seccomp_calls.BY_CAPABILITY)
TOKENS = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
X32_BIT = 0x40000000
# Arguments that tell the conditional rules apart: families, personalities, and each clone flag.
ARGUMENTS = sorted(
    {
        0,
        1,
        2,
        8,
        16,
        37,
        38,
        39,
        40,
        41,
        45,
        0x20000,
        0x20008,
        0x40000,
        0xFFFFFFFF,
        2**32,
        2**32 + 38,
        2**64 - 1,
    }
    | {1 << bit for bit in range(33)}
)
CONDITIONAL = ("socket", "personality", "clone", "clone3")


def capability_sets() -> Iterator[tuple[str, ...]]:
    """Yield none, the default, all, and the default with each decisive capability more or less."""
    default = capabilities.DOCKER_DEFAULT
    yield ()
    yield default
    yield capabilities.NAMES
    for name in DECISIVE:
        yield (*default, name)
        yield tuple(one for one in capabilities.NAMES if one != name)


@pytest.fixture(scope="module")
def dockers() -> dict[str, Any]:
    if not DOCKERS.exists():
        pytest.skip(f"Docker's profile, the file to compare with, is not at {DOCKERS}")
    profile: dict[str, Any] = json.loads(DOCKERS.read_text())
    return profile


def run(program: list[tuple[int, int, int, int]], data: bytes) -> int:
    """Interpret a classic BPF program as the kernel does (Documentation/networking/filter.rst)."""
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= operand
        elif code == 0x05:  # BPF_JMP | BPF_JA
            position += operand
        elif code == 0x15:  # BPF_JEQ
            position += if_true if accumulator == operand else if_false
        elif code == 0x25:  # BPF_JGT
            position += if_true if accumulator > operand else if_false
        elif code == 0x35:  # BPF_JGE
            position += if_true if accumulator >= operand else if_false
        elif code == 0x45:  # BPF_JSET
            position += if_true if accumulator & operand else if_false
        elif code == 0x06:  # BPF_RET | BPF_K
            return operand
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def decoded(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


def seccomp_data(number: int, architecture: int, argument: int = 0) -> bytes:
    return struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *[argument] * 6)


def every_call() -> Iterator[bytes]:
    """Yield all numbers of all architectures, and the conditional ones with telling arguments."""
    library = libseccomp.Library()
    for token, bits in ((TOKENS["x86_64"], 0), (TOKENS["x86_64"], X32_BIT), (TOKENS["x86"], 0)):
        for number in range(700):
            yield seccomp_data(number | bits, token)
        for name in CONDITIONAL:
            number_here = library.number(name, token)
            if number_here is not None:
                yield from (seccomp_data(number_here | bits, token, argument) for argument in ARGUMENTS)
    for token in (TOKENS["aarch64"], 0x12345678):  # architectures that the program is not for
        yield seccomp_data(1, token)


@pytest.mark.parametrize("held", list(capability_sets()), ids=lambda held: f"{capabilities.mask(held):x}")
def test_each_call_has_dockers_verdict_in_the_compiled_program(
    dockers: dict[str, Any], held: tuple[str, ...]
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("libseccomp compiles the x86_64 program on x86_64 only")
    ours = decoded(seccomp.compile_filter(seccomp_profile.docker_default(held, "x86_64", KERNEL)))
    theirs = decoded(seccomp.compile_filter(seccomp_profile.resolve(dockers, held, "x86_64", KERNEL)))
    different = [data for data in every_call() if run(ours, data) != run(theirs, data)]
    assert not different, [struct.unpack("=IIQ6Q", data)[:4] for data in different[:10]]


def verdicts(profile: dict[str, Any]) -> dict[str, Any]:
    """Map each named call to its set of rules: what a profile means, whatever its order and grouping."""
    table: dict[str, Any] = {}
    for rule in profile["syscalls"]:
        conditions = tuple(
            (one["index"], one["op"], one["value"], one.get("valueTwo", 0)) for one in rule.get("args", ())
        )
        for name in rule["names"]:
            table.setdefault(name, set()).add((rule["action"], rule.get("errnoRet"), conditions))
    for name, rules in table.items():
        if any(action == "SCMP_ACT_ALLOW" and not conditions for action, _, conditions in rules):
            table[name] = {
                ("SCMP_ACT_ALLOW", None, ())
            }  # allowed for all arguments: the narrower rules say nothing
    return table


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("kernel", ["4.7.9", "4.8", "6.18.0-rc1"])
def test_each_name_has_dockers_rules(dockers: dict[str, Any], architecture: str, kernel: str) -> None:
    for held in capability_sets():
        ours = seccomp_profile.docker_default(held, architecture, kernel)
        theirs = seccomp_profile.resolve(dockers, held, architecture, kernel)
        assert verdicts(ours) == verdicts(theirs)
        for member in ("defaultAction", "defaultErrnoRet", "architectures"):
            assert ours[member] == theirs[member]


def test_one_call_more_or_less_would_be_noticed(dockers: dict[str, Any]) -> None:
    ours = seccomp_profile.docker_default(capabilities.DOCKER_DEFAULT, "x86_64", KERNEL)
    theirs = decoded(
        seccomp.compile_filter(
            seccomp_profile.resolve(dockers, capabilities.DOCKER_DEFAULT, "x86_64", KERNEL)
        )
    )
    for change in ({"names": ["mount"], "action": "SCMP_ACT_ALLOW"}, None):
        changed = dict(ours, syscalls=[*ours["syscalls"], change] if change else ours["syscalls"][:-1])
        program = decoded(seccomp.compile_filter(changed))
        assert any(run(program, data) != run(theirs, data) for data in every_call())


def test_the_search_tree_decides_like_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = seccomp_profile.docker_default(capabilities.DOCKER_DEFAULT, os.uname().machine, KERNEL)
    tree = seccomp.compile_filter(profile)
    monkeypatch.setattr(libseccomp.Filter, "optimize_for_search", lambda self: None)
    plain = seccomp.compile_filter(profile)
    assert tree != plain
    assert all(run(decoded(tree), data) == run(decoded(plain), data) for data in every_call())


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86_64 has the sub-architectures x86 and x32")
def test_a_newer_call_is_refused_on_every_architecture_of_the_machine() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(seccomp_profile.ARCHITECTURES["x86_64"]),
        "syscalls": [{"names": ["mseal"], "action": "SCMP_ACT_ERRNO"}],
    }
    program = decoded(seccomp.compile_filter(profile))
    calls = [(462, TOKENS["x86_64"]), (462 | X32_BIT, TOKENS["x86_64"]), (462, TOKENS["x86"])]
    assert {run(program, seccomp_data(*call)) for call in calls} == {libseccomp.SCMP_ACT_ERRNO | 1}
    others = [(number + 1, token) for number, token in calls]
    assert {run(program, seccomp_data(*call)) for call in others} == {libseccomp.SCMP_ACT_ALLOW}


def test_no_call_stands_in_two_groups() -> None:
    names = [name for line in seccomp_calls.ALLOWED.values() for name in line.split()]
    assert len(names) == len(set(names)) == 361
    for first, second in itertools.combinations(
        (set(names), {"clone", "clone3", "socket", "personality"}), 2
    ):
        assert not first & second


MOBY = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [],
}


def resolved_names(
    rule: dict[str, Any], held: tuple[str, ...] = (), architecture: str = "x86_64"
) -> list[str]:
    profile = dict(MOBY, syscalls=[{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", **rule}])
    resolved = seccomp_profile.resolve(profile, held, architecture, "6.1.0")
    return [name for one in resolved["syscalls"] for name in one["names"]]


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"includes": {"minKernel": "10.0"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"includes": {"caps": ["CAP_KILL"]}, "excludes": {"arches": ["amd64"]}}, False),
    ],
)
def test_a_rule_applies_when_all_its_conditions_hold(rule: dict[str, Any], applies: bool) -> None:
    assert resolved_names(rule, ("CAP_KILL",)) == (["getpid"] if applies else [])


def test_the_architecture_map_gives_the_sub_architectures() -> None:
    assert seccomp_profile.resolve(MOBY, (), "x86_64", "6.1")["architectures"] == [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
    ]
    assert seccomp_profile.resolve(MOBY, (), "aarch64", "6.1")["architectures"] == ["SCMP_ARCH_AARCH64"]


def test_the_older_spelling_with_one_name_still_works() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"name": "getpid", "action": "SCMP_ACT_ERRNO", "args": []}],
    }
    resolved = seccomp_profile.resolve(profile, (), "x86_64", "6.1")
    assert resolved["syscalls"] == [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": []}]
    seccomp.compile_filter(resolved)


@pytest.mark.parametrize(
    "broken",
    [
        dict(MOBY, architectures=["SCMP_ARCH_X86_64"]),
        dict(MOBY, surprise=True),
        dict(MOBY, syscalls=[{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]),
        dict(MOBY, syscalls=[{"names": ["b"], "action": "SCMP_ACT_ALLOW", "surprise": 1}]),
        dict(MOBY, syscalls=[{"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"moon": "full"}}]),
        dict(MOBY, syscalls=[{"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "x"}}]),
    ],
)
def test_a_profile_that_is_not_understood_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        seccomp_profile.resolve(broken, (), "x86_64", "6.1.0")


def test_an_architecture_without_a_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        seccomp_profile.docker_default((), "riscv64", "6.1")
