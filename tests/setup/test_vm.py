"""`./test --vm` without a machine: which box, which time scale, one run at a time."""

import fcntl
from pathlib import Path

import pytest

from setup import vm
from setup.privilege import Refused


@pytest.mark.parametrize(("accelerator", "scale"), [("tcg", vm.EMULATED_TIME_SCALE), ("kvm", 1)])
def test_emulation_stretches_the_time(monkeypatch: pytest.MonkeyPatch, accelerator: str, scale: int) -> None:
    monkeypatch.setenv("MINIDOCK_VM_ACCEL", accelerator)
    assert vm._time_scale() == scale


def test_a_box_of_this_recipe_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm.subprocess, "run", lambda *_, **__: pytest.fail("a box would be built"))
    (tmp_path / vm._box_name()).touch()
    assert vm._box(tmp_path) == tmp_path / vm._box_name()


def test_two_runs_do_not_meet(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="another"), vm._alone(tmp_path):
            pass
    with vm._alone(tmp_path):
        pass
