"""Capabilities: names against the kernel's header, and the five sets as /proc shows them."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.kernel import capabilities, process

HEADER = Path("/usr/include/linux/capability.h")
KEPT = ("CAP_CHOWN", "CAP_NET_RAW", "CAP_SETPCAP")


def test_the_names_are_the_kernels_in_bit_order() -> None:
    if not HEADER.exists():
        pytest.skip(f"no {HEADER}: linux-libc-dev is not installed")
    found = re.findall(r"^#define (CAP_[A-Z_]+)\s+(\d+)$", HEADER.read_text(), re.MULTILINE)
    ordered = [name for name, _ in sorted(found, key=lambda pair: int(pair[1]))]
    assert list(capabilities.NAMES)[: len(ordered)] == ordered


def test_there_are_41_names_and_the_kernel_knows_the_last() -> None:
    assert len(capabilities.NAMES) == 41
    assert capabilities.last_capability() >= 40


@pytest.mark.parametrize("name", ["CAP_SYS_ADMIN", "SYS_ADMIN", "cap_sys_admin", "sys_Admin"])
def test_a_name_may_be_written_in_four_ways(name: str) -> None:
    assert capabilities.number(name) == 21


@pytest.mark.parametrize("name", ["", "CAP_", "CAP_ALL", "CAP_CAP_KILL", "CAP_SYS_ADMIN "])
def test_an_unknown_name_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="unknown capability") as caught:
        capabilities.mask(["CAP_KILL", name])
    assert repr(name) in str(caught.value)


def test_dockers_default_has_the_published_mask() -> None:
    assert capabilities.mask(capabilities.DOCKER_DEFAULT) == 0xA80425FB
    assert len(capabilities.DOCKER_DEFAULT) == 14


@given(st.sets(st.sampled_from(capabilities.NAMES)))
def test_a_set_of_names_survives_the_mask(names: set[str]) -> None:
    assert set(capabilities.names(capabilities.mask(names))) == names


def test_a_bit_that_has_no_name_is_still_listed() -> None:
    assert capabilities.names(1 << 50 | 1) == ["CAP_CHOWN", "CAP_50"]


def test_available_is_what_this_process_has() -> None:
    assert capabilities.mask(capabilities.available()) & ~capabilities.read()["permitted"] == 0


def test_dropped_capabilities_are_gone_from_the_bounding_set(in_child: Any) -> None:
    def body() -> dict[str, int]:
        capabilities.drop_bounding(KEPT)
        return capabilities.read()

    assert in_child(body)["bounding"] == capabilities.mask(KEPT)


def test_all_sets_are_as_they_were_asked_for(in_child: Any) -> None:
    def body() -> dict[str, int]:
        capabilities.drop_bounding(KEPT)
        capabilities.set_process_capabilities(KEPT[:1], KEPT[:2], ())
        return capabilities.read(os.getpid())

    assert in_child(body) == {
        "effective": capabilities.mask(KEPT[:1]),
        "permitted": capabilities.mask(KEPT[:2]),
        "inheritable": 0,
        "bounding": capabilities.mask(KEPT),
        "ambient": 0,
    }


def test_no_capability_at_all_can_be_asked_for(in_child: Any) -> None:
    def body() -> list[int]:
        capabilities.drop_bounding(())
        capabilities.set_process_capabilities((), (), ())
        return sorted(set(capabilities.read().values()))

    assert in_child(body) == [0]


def test_a_capability_given_up_does_not_come_back(in_child: Any) -> None:
    def body() -> int | None:
        capabilities.set_process_capabilities(KEPT, KEPT, ())
        try:
            capabilities.set_process_capabilities(("CAP_SYS_ADMIN",), ("CAP_SYS_ADMIN",), ())
        except OSError as error:
            return error.errno
        return None

    assert in_child(body) == errno.EPERM


def test_keep_capabilities_decides_whether_they_survive_another_uid(in_child: Any) -> None:
    def body(keep: bool) -> int:
        capabilities.set_keep_capabilities(keep)
        os.setresuid(1000, 1000, 1000)
        return capabilities.read()["permitted"]

    assert in_child(lambda: body(True)) != 0
    assert in_child(lambda: body(False)) == 0


def test_ambient_capabilities_reach_a_program_of_another_user(in_child: Any) -> None:
    def body(ambient: tuple[str, ...]) -> str:
        capabilities.set_keep_capabilities(True)
        os.setresuid(1000, 1000, 1000)
        capabilities.set_process_capabilities(KEPT, KEPT, KEPT)
        capabilities.set_ambient(ambient)
        with os.popen("grep CapEff /proc/self/status") as pipe:
            return pipe.read().split()[1]

    assert int(in_child(lambda: body(("CAP_NET_RAW",))), 16) == capabilities.mask(["CAP_NET_RAW"])
    assert int(in_child(lambda: body(())), 16) == 0


def test_setting_ambient_again_forgets_the_first(in_child: Any) -> None:
    def body() -> int:
        capabilities.set_process_capabilities(KEPT, KEPT, KEPT)
        capabilities.set_ambient(KEPT)
        capabilities.set_ambient(KEPT[1:2])
        return capabilities.read()["ambient"]

    assert in_child(body) == capabilities.mask(KEPT[1:2])


def test_an_ambient_capability_must_be_inheritable(in_child: Any) -> None:
    def body() -> tuple[int | None, Any]:
        capabilities.set_process_capabilities(KEPT, KEPT, ())
        try:
            capabilities.set_ambient(KEPT)
        except OSError as error:
            return error.errno, error.filename
        return None, None

    assert in_child(body) == (errno.EPERM, "CAP_CHOWN")


def test_dropping_needs_cap_setpcap(in_child: Any) -> None:
    def body() -> int | None:
        process.set_no_new_privileges()
        capabilities.set_process_capabilities((), (), ())
        try:
            capabilities.drop_bounding(())
        except OSError as error:
            return error.errno
        return None

    assert in_child(body) == errno.EPERM
